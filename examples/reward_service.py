#!/usr/bin/env python3
"""A reward of one's own: 1 for the right answer, less a little for every word beyond thirty.

    "$(scripts/grpc-python)" examples/reward_service.py [HOST:PORT]
"""
import concurrent.futures
import json
import pathlib
import sys

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "proto"))
pb, rpc = grpc.protos_and_services("cohort/v1/reward.proto")


class LengthAwareReward(rpc.RewardServicer):
    def Score(self, request, context):
        reply = pb.ScoreReply()
        for item in request.items:
            score = reply.scores.add(index=item.index)
            answer = json.loads(item.columns_json).get("answer")  # any column of the prompt
            if answer is None:
                score.unscorable = "the prompt has no column `answer`"
                continue
            words = item.response.split()
            score.components["correct"] = float(bool(words) and words[-1].strip(".") == str(answer))
            score.components["brevity"] = -0.01 * max(0, len(words) - 30)
            score.score = sum(score.components.values())
        return reply


server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8))
rpc.add_RewardServicer_to_server(LengthAwareReward(), server)
port = server.add_insecure_port(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7070")
server.start()
print(f"listening on port {port}", flush=True)
server.wait_for_termination()
