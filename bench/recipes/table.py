#!/usr/bin/env python3
"""Trains every recipe on a small model and writes what changed into docs/recipes.md.

    build/release/bin/cohort study recipes --claim grpo   # makes the base model, among other things
    bench/recipes/table.py --model runs/studies/bases/sums/model [--steps 100] [--only grpo dapo]

Each recipe is trained as it stands, but for the model, the task (one-digit addition with the columns
written out), its length limit, a batch of about --rows responses, and the learning rate times --lr-scale,
since the recipes' own are for models a hundred times as large. Columns: means over the first and the last
tenth of the steps, before -> after. Runs are kept in --out and not repeated, so an interrupted table goes on
where it was.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- table: bench/recipes/table.py -->", "<!-- end of table -->"
COLUMNS = (("accuracy", "accuracy/mean", "{:.2f}"), ("reward", "reward/mean", "{:.2f}"),
           ("entropy, nats", "entropy", "{:.3f}"), ("length, tokens", "response_length/mean", "{:.1f}"))
# Where the task is not what the recipe's own file says; the small model writes no \\boxed{}.
EXTRA = {
    "deepseek_r1": ["data.prompt_suffix=", 'algorithm.reward.sources=[{name: task}, {name: contains, text: ";1", weight: 0.2}]'],
    "spurious_format": ['algorithm.reward.sources=[{name: contains, text: ";1"}]'],
    "thinkprune": ["rollout.length_schedule=[{from_step: 34, max_new_tokens: 24}, {from_step: 67, max_new_tokens: 14}]"],
    "l1_exact": ["algorithm.reward.shaping=[{l1_exact: {alpha: 0.01, min_tokens: 8, max_tokens: 32}}]"],
    "l1_max": ["algorithm.reward.shaping=[{l1_max: {alpha: 0.01, min_tokens: 8, max_tokens: 32}}]"],
    "s_grpo": ['rollout.serial={text: ";", until: "\\n", answer_tokens: 8}'],
}


def history_setting(name, runs):
    kind = {"limr": "lim", "one_shot_em": "variance_topk", "one_shot_rlvr": "variance_topk"}.get(name)
    return [f"algorithm.data.select.{kind}.run={runs / 'grpo'}"] if kind else []


def majority_file(args, runs):
    """Prompts with the model's own majority of 16 samples, for spurious_majority."""
    path, samples = runs / "majority.jsonl", runs / "majority_eval.json"
    if not path.exists():
        run([args.cohort, "eval", "--model", args.model, "--task", args.task, "--split", "train", "--prompts", "64",
             "--samples", "16", "--max-new-tokens", str(args.max_new_tokens), "--out", samples], runs / "majority.log")
        run([args.cohort, "label", "--eval", samples.with_suffix(".jsonl"), "--out", path], runs / "label.log")
    return [f"data.sources=[{{path: {path}, reward: rule_last_integer}}]"]


def resolved(name, args):
    """The first value of each key of a recipe: enough for the few that are asked for here."""
    command = [args.cohort, "recipes", "show", name]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pairs = (line.strip().split(":", 1) for line in reversed(text.splitlines()) if ":" in line)
    return {key: value.strip() for key, value in pairs}


def batch(recipe, args):
    """Prompts and rows per prompt, so that a batch has about --rows rows and every update whole groups."""
    updates, rows = int(recipe["mini_batches"]), int(recipe["group_size"])
    prompts = max(updates, args.rows // rows // updates * updates)
    return [f"learner.prompts_per_step={prompts}", f"rollout.group_size={max(min(rows, 4), args.rows // prompts)}"
            if rows > 1 else "rollout.group_size=1"]


def settings(name, args, runs):
    recipe = resolved(name, args)
    lr = float(recipe["lr"])
    out = [f"model.path={args.model}", "model.dtype=fp32", f"run.steps={args.steps}", f"data.task={args.task}",
           f"rollout.max_new_tokens={args.max_new_tokens}", f"optimizer.lr={lr * args.lr_scale:g}",
           "rollout.workers=1", "rollout.threads=1", "learner.threads=1", "algorithm.filter.on_exhausted=stop",
           "eval.every_steps=0", "eval.samples=0", "checkpoint.every_steps=0", "log.tensorboard=false"]
    out += batch(recipe, args)
    if name == "spurious_majority":
        out = [s for s in out if not s.startswith("data.task")] + majority_file(args, runs)
    return out + EXTRA.get(name, []) + history_setting(name, runs)


def run(command, log):
    with open(log, "w", encoding="utf-8") as file:
        return subprocess.run([str(c) for c in command], stdout=file, stderr=subprocess.STDOUT, check=False).returncode


def train(name, args, runs):
    folder = runs / name
    if not (folder / "summary.json").exists():
        sets = [part for setting in settings(name, args, runs) for part in ("--set", setting)]
        code = run([args.cohort, "train", "-c", name, "--out", folder, *sets], runs / f"{name}.log")
        if code != 0 and not (folder / "metrics.jsonl").exists():
            return None
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def change(steps, key, form):
    values = [step[key] for step in steps if step.get(key) is not None]
    if not values:
        return "-"
    tenth = max(1, len(values) // 10)
    return f"{form.format(statistics.mean(values[:tenth]))} -> {form.format(statistics.mean(values[-tenth:]))}"


def row(name, steps, wanted):
    if not steps:
        return f"| `{name}` | failed, see its log |" + " |" * (len(COLUMNS) - 1)
    cells = [change(steps, key, form) for _, key, form in COLUMNS]
    early = f" ({len(steps)} steps)" if len(steps) < wanted else ""  # its filter found no more prompts
    return f"| `{name}`{early} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--task", default="column-addition-1")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--max-new-tokens", type=int, default=40)
    parser.add_argument("--rows", type=int, default=32, help="responses of a step, about")
    parser.add_argument("--lr-scale", type=float, default=10)
    parser.add_argument("--out", default="runs/recipe-table")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--cohort", default=str(ROOT / "build/release/bin/cohort"))
    args = parser.parse_args()
    runs = pathlib.Path(args.out)
    runs.mkdir(parents=True, exist_ok=True)
    names = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml") if path.stem != "quickstart")
    names.sort(key=lambda name: name != "grpo")  # its history is what others select by
    rows, share = [], []
    for name in names:
        if args.only and name not in args.only:
            continue
        steps = train(name, args, runs)
        rows.append(row(name, steps, args.steps))
        share += [(step["time/prepare"] + step["reward/seconds"]) / step["time/step"] for step in steps or []]
        print(rows[-1], flush=True)
    if share:
        print(f"rewards, shaping, filters, advantages, packing: {100 * statistics.mean(share):.2f} % of a step's time")
    if not args.only:
        head = ["| recipe | " + " | ".join(c[0] for c in COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        page = ROOT / "docs/recipes.md"
        text = page.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        page.write_text(before + BEGIN + "\n" + "\n".join(head + sorted(rows)) + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
