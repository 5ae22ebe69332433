#!/usr/bin/env python3
"""Runs every query of every dashboard, recording rule and alert against a Prometheus that scrapes a real run.

    tests/e2e/monitoring.py BIN_DIR

A learner of two ranks and two workers train the tiny model with certificates, a reference policy, checkpoints and evaluations;
one worker is killed and started again. Then each query must have returned data. Alerts are silent in a run in which
nothing is wrong, so of theirs each selector must. What may be empty is in tests/e2e/empty_queries.txt with the
reason; an entry that matches no query fails. scripts/check-queries calls it with what it needs.
"""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import check_rules  # noqa: E402
import prometheus_server  # noqa: E402
from dashboard_queries import has_data, of_dashboards  # noqa: E402

SELECTOR = re.compile(r"\b((?:cohort|process)(?::|_)[a-z0-9_:]+|up)\b(\{[^}]*\})")
RUN_SECONDS = 75


def say(text):
    print(f"monitoring: {text}", flush=True)


def fail(text):
    sys.exit(f"monitoring: {text}")


def wait_until(seconds, what, probe, log):
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, KeyError, IndexError, ValueError):
            value = probe()
            if value:
                return value
        if time.monotonic() > end:
            fail(f"gave up after {seconds} s waiting for {what}; {log.name}:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


# ---- The run. ----


def config(work):
    return {
        "run": {"seed": 7, "steps": 1_000_000, "name": "monitored", "spurious": True},
        "model": {"path": str(work / "model"), "dtype": "fp32", "device": "cpu"},
        "data": {"task": "addition-1"},
        "rollout": {"group_size": 4, "max_new_tokens": 8, "max_staleness": 1, "threads": 1, "heartbeat_seconds": 1},
        "learner": {"prompts_per_step": 8, "threads": 1},
        "algorithm": {"reward": {"sources": [{"name": "contains", "text": "e"}, {"name": "format_boxed", "weight": 0.2}]},
                      "kl": {"loss": {"est": "k3", "coef": 0.001}}},
        "optimizer": {"lr": 1e-3},
        "checkpoint": {"every_steps": 10, "keep_last": 2},
        "eval": {"every_steps": 20, "samples": 1},
    }


class Run:
    """The processes of the run and Prometheus; all end with the context."""

    def __init__(self, stack, bin_folder, work):
        self.stack, self.bin, self.work = stack, bin_folder, work
        self.ports = {name: prometheus_server.free_port() for name in ("grpc", "store", "learner", "worker0", "worker1")}
        self.prometheus_address = f"127.0.0.1:{prometheus_server.free_port()}"

    def start(self, name, *command):
        log = open(self.work / f"{name}.log", "ab")  # kept open by the process
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        self.stack.callback(prometheus_server.end, process)
        return process

    def tls(self, role):
        certs = self.work / "certs"
        return ["--tls-ca", certs / "ca.crt", "--tls-cert", certs / f"{role}.crt", "--tls-key", certs / f"{role}.key"]

    def learner(self):
        return self.start("learner", self.bin / "cohort-learner", "--config", self.work / "run.yaml", "--out", self.work / "run",
                          "--listen", f"127.0.0.1:{self.ports['grpc']}", "--http-listen", f"127.0.0.1:{self.ports['learner']}",
                          "--ranks-per-pod", "2", "--store", f"127.0.0.1:{self.ports['store']}", *self.tls("learner"))

    def worker(self, index):
        return self.start(f"worker{index}", self.bin / "cohort-rollout", "--learner", f"localhost:{self.ports['grpc']}",
                          "--http-listen", f"127.0.0.1:{self.ports[f'worker{index}']}", "--cache", self.work / "cache",
                          "--pace", "2000", *self.tls("rollout"))

    def prometheus(self):
        (self.work / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "deploy/prometheus/rules.yaml")],
            "scrape_configs": [{"job_name": "cohort", "static_configs": [
                {"targets": [f"127.0.0.1:{self.ports['learner']}"], "labels": {"run": "monitored", "role": "learner"}},
                {"targets": [f"127.0.0.1:{self.ports[name]}" for name in ("worker0", "worker1")],
                 "labels": {"run": "monitored", "role": "rollout"}}]}]}))
        return self.start("prometheus", *prometheus_server.command(self.work, self.prometheus_address))

    def page(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def ask(self, path, **arguments):
        return prometheus_server.ask(self.prometheus_address, path, **arguments)

    def step(self):
        return float(self.ask("query", query="max(cohort_learner_step)")["result"][0]["value"][1])


def train(run):
    """A run with something of everything that happens in runs that are well."""
    learner, victim = run.learner(), run.worker(0)
    run.worker(1)
    run.prometheus()
    wait_until(120, "the first evaluation and checkpoint after a start", lambda: run.step() >= 20, run.work / "learner.log")
    victim.kill()
    victim.wait(10)
    run.worker(0)
    time.sleep(RUN_SECONDS)  # the time over which rates are taken, not a wait for something
    if learner.poll() is not None:
        fail(f"the learner ended with {learner.returncode}: {(run.work / 'learner.log').read_text()[-2000:]}")
    wait_until(30, "all targets to be up", lambda: all(
        target["health"] == "up" for target in run.ask("targets")["activeTargets"]), run.work / "prometheus.log")
    say(f"{len(run.ask('targets')['activeTargets'])} targets up, {run.step():.0f} steps")


# ---- The queries. ----


def of_rules():
    for rule in check_rules.rules_of(check_rules.load(ROOT / "deploy/prometheus/rules.yaml")):
        if "record" in rule:
            yield f"rule / {rule['record']}", rule["expr"]
            continue
        for selector in sorted({name + labels for name, labels in SELECTOR.findall(rule["expr"])}):
            yield f"alert / {rule['alert']} / {selector}", selector


def run_queries(run, queries, empty):
    now = time.time()
    used, problems, without = set(), [], 0
    for where, expression in queries:
        try:
            found = has_data(run.ask("query_range", query=expression, start=now - 60, end=now, step=5)["result"])
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        reasons = [pattern for pattern in empty if re.search(pattern, where)]
        used.update(reasons)
        without += not found
        if not found and not reasons:
            problems.append(f"{where}: no data for {expression}")
    problems += [f"tests/e2e/empty_queries.txt: no query is called {pattern}" for pattern in empty if pattern not in used]
    return without, problems


def read_empty():
    """The patterns of empty_queries.txt: a regular expression over the name of a query, two spaces, the reason."""
    patterns = {}
    for line in (ROOT / "tests/e2e/empty_queries.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, _, reason = line.partition("  ")
            if not reason.strip():
                fail(f"empty_queries.txt: expected a reason after two spaces, found '{line}'")
            patterns[pattern] = reason.strip()
    return patterns


def check_pages(run):
    """promtool says nothing about an empty page and about a series that is there twice."""
    for name in ("learner", "worker0"):
        page = run.page(name)
        series = [line.rpartition(" ")[0] for line in page.splitlines() if line and not line.startswith("#")]
        if len(series) < 20 or len(series) != len(set(series)):
            fail(f"/metrics of the {name} has {len(series)} series, {len(set(series))} of them different")
        done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=60)
        if done.returncode != 0 or done.stderr:
            fail(f"promtool check metrics, {name}: {done.stdout}{done.stderr}")
        say(f"/metrics of the {name}: {len(series)} series, promtool has no complaint")


def main():
    bin_folder = pathlib.Path(sys.argv[1]).resolve()
    empty = read_empty()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        work = pathlib.Path(folder)
        subprocess.run([ROOT / "tools/make_tiny_model", "--out", work / "model", "--hidden", "64", "--layers", "2", "--seed", "3"],
                       check=True, timeout=120, stdout=subprocess.DEVNULL)
        subprocess.run([ROOT / "scripts/dev-certs", work / "certs"], check=True, timeout=60, stdout=subprocess.DEVNULL)
        (work / "run.yaml").write_text(json.dumps(config(work)))
        run = Run(stack, bin_folder, work)
        train(run)
        check_pages(run)
        firing = run.ask("query", query='ALERTS{alertstate="firing"}')["result"]
        if firing:
            fail(f"alerts fire in a healthy run: {[alert['metric'] for alert in firing]}")
        queries = list(of_dashboards()) + list(of_rules())
        without, problems = run_queries(run, queries, empty)
        for rule in check_rules.rules_of(check_rules.load(ROOT / "deploy/prometheus/rules.yaml")):
            run.ask("query", query=rule["expr"])
    if problems:
        fail(f"{len(problems)} of {len(queries)} queries:\n" + "\n".join(problems))
    if len(queries) < 200:
        fail(f"{len(queries)} queries, expected at least 200")
    say(f"{len(queries)} queries executed, {without} of them empty, each for a written reason; no alert fires")


if __name__ == "__main__":
    main()
