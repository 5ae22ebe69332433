#!/usr/bin/env python3
"""What TLS costs of a step: CPU seconds of learner and worker, with and without it.

    bench/security/step_cpu.py [--model DIR] [--steps 8] [--runs 5]

Runs one learner and one worker over loopback, in turns with certificates of scripts/dev-certs and with the run's
secret in plaintext, and prints the CPU seconds of a step (user and system time of both processes, their start
included, over the steps) as median and range, and the ratio of the medians. Exit code 1: TLS costs 5 % or more.
"""

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build/release/bin"
LIMIT = 1.05

CONFIG = """
run: {{seed: 7, steps: {steps}, name: security}}
model: {{path: {model}, device: cpu}}
data: {{task: addition-1}}
rollout: {{group_size: 8, max_new_tokens: 24, threads: 1}}
learner: {{prompts_per_step: 4, threads: 1}}
algorithm: {{step_on_empty: true}}
checkpoint: {{every_steps: 0}}
eval: {{every_steps: 0, samples: 1}}
"""


def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def wait_for(path, process, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        if process.poll() is not None or time.monotonic() > end:
            sys.exit(f"the learner does not listen, see {path.parent.parent}/learner.log")
        time.sleep(0.05)
    return path.read_text().strip()


def cpu_seconds(folder, model, steps, tls):
    out = folder / "out"
    config = folder / "run.yaml"
    config.write_text(CONFIG.format(steps=steps, model=model))
    certificates = lambda role: (
        ["--tls-ca", f"{folder}/ca.crt", "--tls-cert", f"{folder}/{role}.crt", "--tls-key", f"{folder}/{role}.key"]
        if tls
        else []
    )
    if tls:
        subprocess.run([ROOT / "scripts/dev-certs", folder], check=True, stdout=subprocess.DEVNULL)
    environment = dict(os.environ, OMP_WAIT_POLICY="passive")
    before = used()
    with open(folder / "learner.log", "w") as learner_log, open(folder / "worker.log", "w") as worker_log:
        learner = subprocess.Popen(
            [BIN / "cohort-learner", "--config", config, "--listen", "127.0.0.1:0", "--out", out]
            + certificates("learner"),
            stderr=learner_log,
            env=environment,
        )
        address = wait_for(out / "address", learner)
        worker = subprocess.Popen(
            [BIN / "cohort-rollout", "--config", out / "config.yaml", "--learner", address] + certificates("rollout"),
            stderr=worker_log,
            env=environment,
        )
        codes = learner.wait(), worker.wait()
    if codes != (0, 0):
        sys.exit(f"learner and worker ended with {codes}: see {folder}")
    return (used() - before) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "models/smollm2-135m-instruct"))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    seconds = {False: [], True: []}
    for _ in range(args.runs):
        for tls in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                seconds[tls].append(cpu_seconds(pathlib.Path(folder), args.model, args.steps, tls))
    for tls, name in ((False, "plaintext"), (True, "TLS")):
        found = seconds[tls]
        print(f"{name:9}  {statistics.median(found):.3f} CPU s a step ({min(found):.3f} to {max(found):.3f})")
    ratio = statistics.median(seconds[True]) / statistics.median(seconds[False])
    print(f"TLS / plaintext: {ratio:.3f} (limit {LIMIT})")
    return 0 if ratio < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
