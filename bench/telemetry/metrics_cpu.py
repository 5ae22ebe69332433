#!/usr/bin/env python3
"""What metrics cost of a step: CPU seconds of export and scrapes over those of a step of learner and worker.

    bench/telemetry/metrics_cpu.py [--model DIR] [--steps 8] [--runs 3]

The parts are measured one by one (build/release/bench/metrics_bench): they are far below what two runs differ by. A
step of one learner and one worker over loopback is measured as bench/security/step_cpu.py does. Prints each part's
share of a step's CPU seconds, with /metrics of both read every 15 s. Exit code 1: together 0.5 % or more.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench/security"))
import step_cpu  # noqa: E402

LIMIT = 0.005
TICK = 2.0  # seconds, as in serving.cc
SCRAPE = 15.0
NEW_TOKENS = 24  # decoding steps of a step, as step_cpu's configuration says: all rows at once


def parts():
    """CPU seconds of each part."""
    command = [ROOT / "build/release/bench/metrics_bench", "--benchmark_format=json", "--benchmark_min_time=0.2"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["benchmarks"]
    return {entry["name"]: entry["cpu_time"] * 1e-9 for entry in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "models/smollm2-135m-instruct"))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    cpu, wall = [], []
    for _ in range(args.runs):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.monotonic()
            cpu.append(step_cpu.cpu_seconds(pathlib.Path(folder), args.model, args.steps, tls=False))
            wall.append((time.monotonic() - begin) / args.steps)
    step, seconds = statistics.median(cpu), statistics.median(wall)
    part = parts()
    cost = {
        "export of the step": part["LearnerStep"],
        "look every 2 s": part["LearnerTick"] * seconds / TICK,
        "scrapes of the learner": part["LearnerScrape"] * seconds / SCRAPE,
        "decoding steps": part["WorkerDecode"] * NEW_TOKENS,
        "scrapes of the worker": part["WorkerScrape"] * seconds / SCRAPE,
    }
    print(f"a step: {step:.3f} CPU s ({min(cpu):.3f} to {max(cpu):.3f}) in {seconds:.2f} s")
    for name, value in cost.items():
        print(f"{name:23} {value * 1e6:8.1f} us  {100 * value / step:.4f} %")
    share = sum(cost.values()) / step
    print(f"together {100 * share:.4f} % of a step's CPU seconds (limit {100 * LIMIT} %)")
    return 0 if share < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
