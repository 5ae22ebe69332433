#!/usr/bin/env python3
"""One GRPO step of Cohort against one of TRL, interleaved in one run.

    $(scripts/reference-python --trl) bench/step/compare.py [--new-tokens 24] [--rounds 2] [--steps 3]

Work: SmolLM2-135M-Instruct, 4 prompts x 8 completions, one optimizer step per batch. Cohort runs as users
run it: `cohort train` with one learner and two worker processes, each computing in its own turn on all
cores. TRL runs in fp32, its default on a CPU; --dtype chooses what Cohort runs (auto: what a user gets).
The share of the roofline is the arithmetic of the sampled and trained tokens over the step's time, divided
by the rate of a large matrix product measured in the same run.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
from matrix_rate import matrix_rate  # noqa: E402

MODEL = ROOT / "models" / "smollm2-135m-instruct"
PARAMETERS = 134.5e6


def addition_prompts():
    return [
        {"prompt": f"What is {a} + {b}? Reply with only the number.", "answer": str(a + b)}
        for a in range(10)
        for b in range(a, 10)
    ]


def long_prompts():
    """Prompts whose answers run into the length limit, so that both sides sample the same amount."""
    topics = ["a lighthouse", "the first computer", "a voyage to Mars", "an old clockmaker", "the deep sea"]
    return [
        {"prompt": f"Write a very long and detailed story about {t}, at least five thousand words.", "answer": "0"}
        for t in topics
    ] * 4


def run_trl(args, prompts, out):
    command = [sys.executable, str(ROOT / "bench/step/trl_step.py"), "--model", str(MODEL), "--prompts", prompts]
    command += ["--steps", str(args.steps), "--max-new-tokens", str(args.new_tokens), "--dtype", "fp32"]
    command += ["--threads", str(args.threads), "--out", out]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    result = json.loads(done.stdout.strip().splitlines()[-1])
    return result["seconds"], statistics.mean(result["mean_length"])


def run_cohort(args, prompts, out):
    config = f"""
run: {{name: bench, steps: {args.steps + 1}, out: {out}}}
model: {{path: {MODEL}, dtype: {args.dtype}}}
data: {{path: {prompts}}}
rollout: {{workers: 2, group_size: 8, max_new_tokens: {args.new_tokens}, threads: 1}}
learner: {{prompts_per_step: 4, threads: {args.threads}}}
optimizer: {{lr: 1e-5, weight_decay: 0.0}}
eval: {{samples: 0}}
checkpoint: {{every_steps: 0}}
algorithm: {{reward: {{sources: [{{name: rule_last_integer}}]}}, adv: {{baseline: group_mean, scale: group_std}}}}
"""
    path = pathlib.Path(out + ".yaml")
    path.write_text(config)
    binary = str(ROOT / "build/release/bin/cohort")
    subprocess.run([binary, "train", "-c", str(path)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    lines = [json.loads(line) for line in open(pathlib.Path(out) / "metrics.jsonl")]
    steps = [line for line in lines if "time/step" in line][1:]
    # The last step also saves a checkpoint, which TRL is told not to do.
    extra = ("time/checkpoint", "time/eval")
    seconds = [line["time/step"] - sum(line.get(key) or 0 for key in extra) for line in steps]
    return seconds, statistics.mean(line["response_length/mean"] for line in steps)


def report(name, seconds, length, rate, prompt_tokens):
    rows, prompts = 32, 4
    sampled = rows * length
    trained = prompts * prompt_tokens + sampled
    flop = 2 * PARAMETERS * sampled + 6 * PARAMETERS * trained
    median = statistics.median(seconds)
    share = flop / 1e9 / median / rate
    print(
        f"{name:28s} {median:7.2f} s/step (min {min(seconds):.2f}, max {max(seconds):.2f}, n={len(seconds)})"
        f"  mean length {length:6.1f}  {100 * share:3.0f} % of {rate:.0f} GFLOP/s"
    )
    return median


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", default="auto", choices=["auto", "fp32", "bf16"])
    args = parser.parse_args()

    folder = tempfile.mkdtemp(prefix="cohort-bench-")
    prompts = os.path.join(folder, "prompts.jsonl")
    with open(prompts, "w") as file:
        for row in addition_prompts() if args.new_tokens <= 64 else long_prompts():
            file.write(json.dumps(row) + "\n")

    native_bf16 = "avx512_bf16" in open("/proc/cpuinfo").read()
    dtype = args.dtype if args.dtype != "auto" else ("bf16" if native_bf16 else "fp32")
    trl, cohort, lengths = [], [], {"trl": [], "cohort": []}
    for index in range(args.rounds):
        seconds, length = run_cohort(args, prompts, os.path.join(folder, f"cohort{index}"))
        cohort += seconds
        lengths["cohort"].append(length)
        seconds, length = run_trl(args, prompts, os.path.join(folder, f"trl{index}"))
        trl += seconds
        lengths["trl"].append(length)

    print(f"4 prompts x 8 completions, at most {args.new_tokens} new tokens, {args.threads} cores")
    cohort_s = report(
        f"Cohort ({dtype})", cohort, statistics.mean(lengths["cohort"]), matrix_rate(dtype, args.threads), 45
    )
    trl_s = report("TRL 1.16 (fp32)", trl, statistics.mean(lengths["trl"]), matrix_rate("fp32", args.threads), 45)
    print(f"TRL step / Cohort step: {trl_s / cohort_s:.2f}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
