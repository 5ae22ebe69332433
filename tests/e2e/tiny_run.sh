#!/usr/bin/env bash
# Trains a tiny random model for a few steps with real processes and looks at what the run leaves.
#
#   tests/e2e/tiny_run.sh BIN_DIR
#
# 1. three steps end with exit code 0, a metrics line per step, a summary and a checkpoint;
# 2. --resume continues to five steps;
# 3. a worker killed with -9 in the middle costs no step: its prompts go to the other one, and a new one joins;
# 4. an interrupted run stops by itself and leaves no process behind.
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
bin="$(cd "${1:?usage: tests/e2e/tiny_run.sh BIN_DIR}" && pwd)"
work="$(mktemp -d)"

fail() {
  echo "tiny_run: $*" >&2
  [[ -f "$work/train.log" ]] && tail -n 30 "$work/train.log" >&2
  exit 1
}

# Programs of this test are known by its folder's name in their command line. The name reaches grep by a
# pipe, or grep would find itself.
processes() {
  grep -lsaF -f <(printf '%s' "$work") /proc/[0-9]*/cmdline | cut -d/ -f3 || true
}

cleanup() {
  local left
  left="$(processes)"
  # shellcheck disable=SC2086
  [[ -z "$left" ]] || kill -9 $left 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

# wait_until SECONDS COMMAND...: polls, because what it waits for are other processes and their files.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

no_processes() { [[ -z "$(processes)" ]]; }

write_config() {
  cat >"$work/tiny.yaml" <<YAML
run: {seed: 7, steps: $1, name: tiny}
model: {path: $work/model, dtype: fp32, device: cpu}
data: {task: addition-1}
rollout: {workers: 2, group_size: 4, max_new_tokens: 8, max_staleness: 0, threads: 1}
learner: {prompts_per_step: 4, threads: 1}
optimizer: {lr: 1e-4}
checkpoint: {every_steps: 1, keep_last: 2}
eval: {samples: 1}
YAML
}

train() { timeout 300 "$bin/cohort" train -c "$work/tiny.yaml" --out "$work/run" "$@" </dev/null >"$work/train.log" 2>&1; }

check_run() {
  python3 - "$work/run" "$1" <<'PYTHON' || fail "the run folder is not as expected"
import json, pathlib, sys
run, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2])
lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
trained = [line for line in lines if "loss" in line]
numbers = [line["step"] for line in trained]
first = numbers[0]
assert first in (0, 1) and numbers == list(range(first, first + steps)), f"steps in metrics.jsonl: {numbers}"
for line in trained:
    for key in ("time/step", "reward/mean", "grad_norm", "weights/hash", "response_length/mean"):
        assert key in line, f"step {line['step']} has no {key}"
    difference = line["sampling/logp_difference/max"]
    assert difference <= 1e-4, f"step {line['step']}: sampler and learner differ by {difference}"
summary = json.loads((run / "summary.json").read_text())
assert summary["steps"] == steps, f"summary.json has steps = {summary['steps']}, expected {steps}"
assert list(run.glob("**/model.safetensors")), "no checkpoint"
history = [json.loads(line) for line in (run / "groups.jsonl").read_text().splitlines()]
assert len({entry["ordinal"] for entry in history}) == len(history) == 4 * steps, f"{len(history)} prompts in groups.jsonl"
PYTHON
}

python3 "$root/tools/make_tiny_model" --out "$work/model" --hidden 64 --layers 2 --seed 3

write_config 3
train || fail "three steps: exit code $?"
check_run 3
wait_until 10 no_processes || fail "processes left after the run: $(processes | tr '\n' ' ')"
echo "tiny_run: three steps: ok"

write_config 5
train --resume || fail "--resume: exit code $?"
check_run 5
echo "tiny_run: resume to five steps: ok"

write_config 60
rm -rf "$work/run"
train &
run=$!
has_three_steps() { [[ "$(grep -cs '"loss"' "$work/run/metrics.jsonl")" -ge 3 ]]; }
worker() { processes | while read -r pid; do
  grep -qsaF cohort-rollout "/proc/$pid/cmdline" && ! grep -qsaF timeout "/proc/$pid/cmdline" && echo "$pid"
done | head -n 1; }
wait_until 120 has_three_steps || fail "no three steps within 120 s"
kill -9 "$(worker)"
wait "$run" || fail "run with a killed worker: exit code $?"
check_run 60
grep -q 'killed by signal 9' "$work/train.log" || fail "the killed worker was not noticed"
echo "tiny_run: worker killed with -9, no step lost: ok"

write_config 100000
rm -rf "$work/run"
# Job control gives it its own process group with the signals a terminal's Ctrl-C would find.
set -m
"$bin/cohort" train -c "$work/tiny.yaml" --out "$work/run" </dev/null >"$work/train.log" 2>&1 &
group=$!
set +m
has_a_step() { grep -qs '"loss"' "$work/run/metrics.jsonl"; }
wait_until 120 has_a_step || fail "no step within 120 s"
kill -INT -- "-$group"
wait_until 60 no_processes || fail "processes left 60 s after Ctrl-C: $(processes | tr '\n' ' ')"
echo "tiny_run: Ctrl-C leaves no process: ok"
