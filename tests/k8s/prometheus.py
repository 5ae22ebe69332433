"""A Prometheus beside the cluster that scrapes the pods of a release as the chart's PodMonitor would have it.

It reaches them through the API server (`kubectl proxy`), so that any cluster will do. Debian's Prometheus knows no
discovery of Kubernetes: the pods are written to a file that it watches.
"""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

from k8s import Failed, wait_until
from release import HTTP_PORT, ROOT

sys.path.insert(0, str(ROOT / "tests/e2e"))
import prometheus_server  # noqa: E402


class Prometheus:
    def __init__(self, release, window="1m"):
        """`window` is that of the demand ratio: the 15 minutes of the rules are long for a test."""
        self.release, self.cluster, self.window = release, release.cluster, window
        self._stack = contextlib.ExitStack()
        self._stop = threading.Event()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._proxy = self._start_proxy(stack)
            self._write_targets()
            self._start_prometheus(stack)
            watcher = threading.Thread(target=self._watch_pods, daemon=True)
            watcher.start()
            stack.callback(watcher.join, 60)
            stack.callback(self._stop.set)
            wait_until(60, "Prometheus to answer", lambda: self.query("vector(1)"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        return self._stack.__exit__(*exception)

    def _start_proxy(self, stack):
        said = self._folder / "proxy"
        with open(said, "wb") as output:
            process = subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=output, stderr=output)
        stack.callback(prometheus_server.end, process)
        return wait_until(20, "`kubectl proxy` to say its address",
                          lambda: re.search(r"127\.0\.0\.1:\d+", said.read_text()))[0]

    def _start_prometheus(self, stack):
        self._address = f"127.0.0.1:{prometheus_server.free_port()}"
        rules = (ROOT / "deploy/prometheus/rules.yaml").read_text().replace("[15m]", f"[{self.window}]")
        (self._folder / "rules.yaml").write_text(rules)
        (self._folder / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "2s"}, "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "cohort", "file_sd_configs": [
                {"files": [str(self._folder / "targets.json")], "refresh_interval": "5s"}]}]}))
        with open(self._folder / "log", "wb") as log:
            process = subprocess.Popen(prometheus_server.command(self._folder, self._address), stdout=log, stderr=log)
        stack.callback(prometheus_server.end, process)

    def _watch_pods(self):
        while not self._stop.wait(1):
            with contextlib.suppress(Failed):  # the next round tries again
                self._write_targets()

    def _write_targets(self):
        targets = [self._target(pod, role) for role in ("learner", "rollout") for pod in self.release.pods(role)
                   if pod["status"]["phase"] == "Running"]
        new = self._folder / "targets.json.new"
        new.write_text(json.dumps(targets))
        new.rename(self._folder / "targets.json")

    def _target(self, pod, role):
        name, namespace = pod["metadata"]["name"], self.cluster.namespace
        path = f"/api/v1/namespaces/{namespace}/pods/{name}:{HTTP_PORT}/proxy/metrics"
        return {"targets": [self._proxy], "labels": {"__metrics_path__": path, "instance": name, "pod": name, "role": role,
                                                     "namespace": namespace, "run": self.release.name}}

    def ask(self, path, **arguments):
        try:
            return prometheus_server.ask(self._address, path, **arguments)
        except prometheus_server.Refused as error:
            raise Failed(f"Prometheus refused {error}") from error
        except OSError as error:
            raise Failed(f"Prometheus does not answer: {error}; {(self._folder / 'log').read_text()[-1000:]}") from error

    def query(self, expression):
        """The result of an instant query, as (labels, number)."""
        return [(one["metric"], float(one["value"][1])) for one in self.ask("query", query=expression)["result"]]

    def number(self, expression):
        found = self.query(expression)
        if len(found) != 1:
            raise Failed(f"{expression} has {len(found)} values, expected one: {found}")
        return found[0][1]

    def series(self, expression, seconds=60):
        now = time.time()
        return self.ask("query_range", query=expression, start=now - seconds, end=now, step=5)["result"]

    def wait_up(self, learners, workers):
        """Every pod of the release is scraped, and nothing else."""
        expected = {"learner": learners, "rollout": workers}

        def up():
            found = {labels["role"]: int(count) for labels, count in self.query("sum by (role) (up)")}
            if found != expected or self.query("up == 0"):
                raise Failed(f"targets that answer: {found}, expected {expected}")
            return True

        wait_until(60, f"{expected} to be scraped", up)

    def require_quiet(self, moment):
        firing = self.query('ALERTS{alertstate="firing"}')
        if firing:
            raise Failed(f"{moment}: {[labels['alertname'] for labels, _ in firing]} fire, expected no alert")
