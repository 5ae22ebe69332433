"""A reward of one's own in three lines. Copy this file beside yours; it needs `pip install grpcio`.

    from cohort_reward import serve
    def reward(prompt, response, columns): return float(columns["answer"] in response)
    serve(reward)

`reward` gets the prompt's text, the response's text and the prompt's columns, and gives a number; or a
dictionary of numbers, which are added up and logged one by one where the configuration names them in
`components`; or None where it cannot say. What it raises leaves the response out of training and is
told in the worker's log. It is called from `threads` threads at once.

With {name: service, command: [python3, reward.py]} in algorithm.reward.sources a worker starts and stops
it. By hand: `python3 reward.py 127.0.0.1:7070`, and {name: service, address: 127.0.0.1:7070}.
"""
import concurrent.futures
import json
import os
import struct
import sys
import traceback

import grpc

# proto/cohort/v1/reward.proto on the wire, so that nothing has to be generated from it.
VARINT, DOUBLE, TEXT = 0, 1, 2


def read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
        shift += 7


def fields(data):
    """(number, value) of each field of a message; a message or a text within it is bytes."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        if key & 7 == VARINT:
            value, at = read_varint(data, at)
        elif key & 7 == TEXT:
            size, at = read_varint(data, at)
            value, at = data[at:at + size], at + size
        else:
            size = 8 if key & 7 == DOUBLE else 4
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(number, value):
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | TEXT) + varint(len(data)) + data


def double(number, value):
    return varint(number << 3 | DOUBLE) + struct.pack("<d", value)


def read_item(data):
    item = {"index": 0, "prompt": b"", "response": b"", "columns": b"{}"}
    names = {1: "index", 2: "prompt", 4: "response", 6: "columns"}
    for number, value in fields(data):
        if number in names:
            item[names[number]] = value
    return (item["index"], item["prompt"].decode(), item["response"].decode(),
            json.loads(item["columns"] or b"{}"))


def verdict(reward, item):
    """An ItemScore."""
    index, prompt, response, columns = item
    head = varint(1 << 3) + varint(index)
    try:
        value = reward(prompt, response, columns)
        parts = {name: float(part) for name, part in value.items()} if isinstance(value, dict) else {}
        total = None if value is None else sum(parts.values()) if parts else float(value)
    except Exception as error:  # whatever it is, it is this response's alone
        traceback.print_exc()
        return head + text(3, f"{type(error).__name__}: {error}"[:500])
    if total is None:
        return head + text(3, "the reward gives no score")
    components = b"".join(text(4, text(1, name) + double(2, part)) for name, part in parts.items())
    return head + double(2, total) + components


def tell(address):
    """Whoever started this process reads the address from the file that it named."""
    path = os.environ.get("COHORT_REWARD_ADDRESS_FILE")
    if path:
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(address + "\n")
        os.replace(path + ".new", path)
    print(f"reward service at {address}", file=sys.stderr, flush=True)


def serve(reward, threads=64, address=None):
    """Answers until the process is ended."""
    address = address or (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:0")
    items = concurrent.futures.ThreadPoolExecutor(threads)

    def score(request, _):
        rows = [read_item(value) for number, value in fields(request) if number == 2]
        return b"".join(text(1, one) for one in items.map(lambda row: verdict(reward, row), rows))

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(threads),
                         options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
        "cohort.v1.Reward", {"Score": grpc.unary_unary_rpc_method_handler(score)})])
    port = server.add_insecure_port(address)
    server.start()
    tell(f"{address.rsplit(':', 1)[0]}:{port}")
    server.wait_for_termination()
