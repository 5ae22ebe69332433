#!/usr/bin/env python3
"""Memory of a run's processes, and how soon a restarted worker samples.

    bench/step/resources.py [--new-tokens 24] [--steps 6] [--dtype auto]

Work: that of compare.py (SmolLM2-135M-Instruct, 4 prompts x 8 completions, one learner, two workers). Every
20 ms the anonymous and shared resident memory of each process is read; its peak is printed beside the limit.
After the third step both workers are killed with -9, so that their prompts wait for those that `cohort train`
starts in their place; these log how long after their start the first token was sampled, and the sooner one counts.
Exit code 1: a figure is over its limit, or missing.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMITS_GB = {"cohort-learner": 5.0, "cohort-rollout": 1.5}
FIRST_TOKEN_SECONDS = 3.0


def descendants(root):
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            name = stat[stat.index("(") + 1 : stat.rindex(")")]
            parents[int(entry.name)] = (name, int(stat[stat.rindex(")") + 2 :].split()[1]))
    found, grown = {root}, True
    while grown:
        more = {pid for pid, (_, parent) in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return {pid: parents[pid][0] for pid in found if pid in parents}


def resident_gb(pid):
    """Anonymous plus shared: what the process needs beyond pages of files that the kernel can drop."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return sum(int(kb) for kb in re.findall(r"Rss(?:Anon|Shmem):\s+(\d+) kB", status)) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--dtype", default="auto", choices=["auto", "fp32", "bf16"])
    args = parser.parse_args()

    folder = pathlib.Path(tempfile.mkdtemp(prefix="cohort-bench-"))
    config = folder / "run.yaml"
    config.write_text(f"""
run: {{name: bench, steps: {args.steps}, out: {folder}/out}}
model: {{path: {ROOT}/models/smollm2-135m-instruct, dtype: {args.dtype}}}
data: {{task: addition-1}}
rollout: {{workers: 2, group_size: 8, max_new_tokens: {args.new_tokens}, threads: 1}}
learner: {{prompts_per_step: 4}}
optimizer: {{lr: 1e-5}}
eval: {{samples: 0}}
algorithm: {{step_on_empty: true}}
""")
    binary = ROOT / "build/release/bin/cohort"
    run = subprocess.Popen([binary, "train", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    peaks, killed = {}, False
    while run.poll() is None:
        for pid, name in descendants(run.pid).items():
            if name in LIMITS_GB:
                peaks[(name, pid)] = max(peaks.get((name, pid), 0.0), resident_gb(pid))
        metrics = folder / "out/metrics.jsonl"
        if not killed and metrics.exists() and metrics.read_text().count('"loss"') >= 3:
            killed = True
            for pid, name in descendants(run.pid).items():
                if name == "cohort-rollout":
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    if run.returncode != 0:
        raise SystemExit(f"cohort train: exit code {run.returncode}; see {folder}")

    within = {name for name, _ in peaks} == set(LIMITS_GB)
    for (name, pid), peak in sorted(peaks.items()):
        within = within and peak <= LIMITS_GB[name]
        print(f"{name:16s} {peak:5.2f} GB anonymous and shared at most (limit {LIMITS_GB[name]})")
    logs = [log.read_text() for log in sorted((folder / "out").rglob("*.log"))]
    found = [re.findall(r"first token ([0-9.]+) s after the start", log) for log in logs]
    # The first of a log had to wait for the learner to start.
    restarts = [float(seconds[1]) for seconds in found if len(seconds) > 1]
    # The sooner one may take all prompts; the other then waits for the next step's.
    within = within and bool(restarts) and min(restarts) <= FIRST_TOKEN_SECONDS
    for seconds in sorted(restarts)[:1]:
        print(f"restarted worker, start to first token: {seconds} s (limit {FIRST_TOKEN_SECONDS})")
    if not within:
        raise SystemExit(f"a figure is over its limit or missing; the run is in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
