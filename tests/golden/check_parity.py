"""Checkpoints that Cohort saves, loaded in transformers: the same logits, to 1e-4.

    "$(scripts/reference-python)" tests/golden/check_parity.py BIN_DIR

For each tiny model of the golden files, and SmolLM2 where scripts/setup-model has made it, `cohort sft` saves
two checkpoints:

    unchanged   after a step at learning rate 0: transformers gives the logits of the original folder
    trained     after two steps that change it: transformers gives the log-probs of `cohort logprobs`

Ends with exit code 1 when one of them does not hold. Prints the largest differences.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

import torch

import check_checkpoint
import make_golden

TOLERANCE = 1e-4  # logits and nats, fp32
CHANGED = 1e-3  # a training that moves no logit by this much would show nothing


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1800)
    if done.returncode != 0:
        sys.exit(f"check_parity: {' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def saved(cohort, model, out, steps, lr):
    """The checkpoint of a short training."""
    out.mkdir()
    config = out / "sft.yaml"
    config.write_text(
        f"run: {{seed: 7, steps: {steps}}}\n"
        f"model: {{path: {model}, dtype: fp32, device: cpu}}\n"
        "data: {task: column-addition-2}\n"
        "rollout: {max_new_tokens: 8}\n"
        "learner: {prompts_per_step: 4}\n"
        f"optimizer: {{lr: {lr}, warmup_steps: 0}}\n"
        "checkpoint: {every_steps: 0}\n"
        "eval: {samples: 1, sources: [{task: column-addition-2, prompts: 1}]}\n", encoding="utf-8")
    run(cohort, "sft", "-c", config, "--out", out / "run")
    found = list((out / "run" / "checkpoints").glob("step-*/model.safetensors"))
    if len(found) != 1:
        sys.exit(f"check_parity: expected one checkpoint in {out / 'run'}, found {len(found)}")
    return found[0].parent


@torch.no_grad()
def logprob_difference(cohort, folder, out):
    """Of `cohort logprobs` and transformers, for random tokens."""
    model = check_checkpoint.load(folder)
    draw = random.Random(1)
    sequences = [[draw.randrange(model.config.vocab_size) for _ in range(n)] for n in (2, 19, 150)]
    lines = out / "tokens.jsonl"
    lines.write_text("".join(json.dumps({"tokens": tokens}) + "\n" for tokens in sequences), encoding="utf-8")
    printed = run(cohort, "logprobs", "--model", folder, "--input", lines, "--dtype", "fp32", "--device", "cpu")
    found = [json.loads(line)["logprobs"] for line in printed.splitlines()]
    worst = 0.0
    for tokens, ours in zip(sequences, found, strict=True):
        theirs, _ = make_golden.log_probs(model, tokens)
        worst = max(worst, *(abs(a - b) for a, b in zip(ours[1:], theirs[1:], strict=True)))
    return worst


def check(cohort, name, model, out):
    """The larger difference of the two checkpoints."""
    unchanged = saved(cohort, model, out / "unchanged", steps=1, lr=0)
    logits = check_checkpoint.largest_difference(unchanged, model)
    trained = saved(cohort, model, out / "trained", steps=2, lr=1e-3)
    change = check_checkpoint.largest_difference(trained, model)
    logprobs = logprob_difference(cohort, trained, out)
    print(f"{name:24} unchanged: logits differ by {logits:.2e}   trained (logits moved by {change:.2f}): "
          f"log-probs differ by {logprobs:.2e}", flush=True)
    if change < CHANGED:
        sys.exit(f"check_parity: {name}: training changed nothing")
    return max(logits, logprobs)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    cohort = pathlib.Path(sys.argv[1]).resolve() / "cohort"
    worst = {}
    with tempfile.TemporaryDirectory() as parent:
        for name, arguments in make_golden.TINY_MODELS.items():
            out = pathlib.Path(parent) / name
            out.mkdir()
            make_golden.make_tiny(arguments, out / "model")
            worst[name] = check(cohort, name, out / "model", out)
        if (make_golden.SMOLLM2 / "model.safetensors").exists():
            out = pathlib.Path(parent) / "smollm2"
            out.mkdir()
            worst["smollm2"] = check(cohort, make_golden.SMOLLM2.name, make_golden.SMOLLM2, out)
    name = max(worst, key=worst.get)
    print(f"largest difference: {worst[name]:.2e} ({name})")
    if not worst[name] <= TOLERANCE:
        sys.exit(f"check_parity: expected at most {TOLERANCE:g}")


if __name__ == "__main__":
    main()
