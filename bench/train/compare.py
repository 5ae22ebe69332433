#!/usr/bin/env python3
"""Forward + backward over 32 x 60 tokens: Cohort against transformers, interleaved in one run.

    $(scripts/reference-python) bench/train/compare.py [--rounds 3]

Same weights, dtype, number of sequences and tokens; loss on every token but the first. Cohort's learner
never does this work in that layout, so its real layout for the same samples (prompts of 45 tokens shared by
groups of 8, loss on the 15 response tokens) is timed beside it. The share of the roofline is the rate of the
work over that of a large matrix product measured in the same run.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import torch
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
from matrix_rate import matrix_rate  # noqa: E402

MODEL = ROOT / "models" / "smollm2-135m-instruct"
ROWS, PROMPT, RESPONSE = 32, 45, 15
PARAMETERS = 134.5e6


def cohort(dtype, layout, threads):
    program = ROOT / "build/release/bench/forward_backward"
    command = [program, MODEL, dtype, ROWS, PROMPT, RESPONSE, 3, threads, layout]
    environment = dict(os.environ, OMP_WAIT_POLICY="passive")
    done = subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout)["median"]


def reference(model):
    tokens = torch.randint(1000, 40000, (ROWS, PROMPT + RESPONSE))
    start = time.perf_counter()
    logits = model(input_ids=tokens).logits[:, :-1].float()
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))
    loss.backward()
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    flop = 6 * PARAMETERS * ROWS * (PROMPT + RESPONSE) / 1e9
    for name, dtype in [("fp32", torch.float32), ("bf16", torch.bfloat16)]:
        model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=dtype)
        reference(model)
        peer, ours, shared = [], [], []
        for _ in range(args.rounds):
            ours.append(cohort(name, "repeated", args.threads))
            peer.append(reference(model))
            shared.append(cohort(name, "shared", args.threads))
        p, o, s = (statistics.median(values) for values in (peer, ours, shared))
        limit = matrix_rate(name, args.threads)

        def rate(seconds):
            return f"{flop / seconds:.0f} GFLOP/s, {100 * flop / seconds / limit:.0f} % of {limit:.0f}"

        print(
            f"{name}: transformers {p:.2f} s ({rate(p)}), Cohort same layout {o:.2f} s ({rate(o)}), "
            f"ratio {p / o:.2f}; Cohort's own layout {s:.2f} s, ratio {p / s:.2f}"
        )


if __name__ == "__main__":
    main()
