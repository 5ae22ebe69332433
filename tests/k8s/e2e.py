#!/usr/bin/env python3
"""Runs the scenarios of scenarios.py against the cluster that KUBECONFIG names and prints a table.

    tests/k8s/e2e.py [--list] [--keep] [--logs DIR] [SCENARIO...]

scripts/k8s-e2e calls it after it has found programs and images; see there for the environment.
Exit status: 0 when every scenario passed or was skipped, 1 when one failed.
"""

import argparse
import contextlib
import pathlib
import signal
import sys
import tempfile
import time
import traceback

import monitoring  # noqa: F401  # its scenario is among scenarios.ALL then
import scenarios
import storage
from k8s import Cluster, Failed, Skipped, wait_until
from release import Settings


class Result:
    def __init__(self, name, outcome, seconds, numbers):
        self.name, self.outcome, self.seconds, self.numbers = name, outcome, seconds, numbers

    def line(self):
        return f"{self.name:<24} {self.outcome:<8} {self.seconds:6.0f} s  {self.numbers}"


def run_scenario(name, settings, logs, keep):
    """Runs one scenario in a namespace of its own and prints its line."""
    cluster = Cluster("cohort-e2e-" + name)
    start = time.monotonic()
    try:
        cluster.create_namespace()
        outcome, numbers = "ok", scenarios.ALL[name](cluster, settings) or ""
    except Skipped as why:
        outcome, numbers = "skipped", str(why)
    except Exception as failure:  # also a bug of the scenario: the others still run
        outcome, numbers = "failed", one_line(failure)
        folder = logs / name
        cluster.collect(folder)
        (folder / "failure.txt").write_text(traceback.format_exc())
        print(f"{name}: {failure}\nlogs of its pods, descriptions and events: {folder}", file=sys.stderr, flush=True)
    result = Result(name, outcome, time.monotonic() - start, numbers)
    print(result.line(), flush=True)
    if not (keep and outcome == "failed"):
        clean(cluster.leave_namespace)
    return result


def clean(function):
    try:
        function()
    except Failed as failure:
        print(f"could not clean up: {failure}", file=sys.stderr, flush=True)


def wait_for_namespaces():
    """Those that are being deleted; one that --keep leaves stays."""

    def ending():
        return [item["metadata"]["name"] for item in Cluster().items("namespaces", "cohort.dev/e2e=true")
                if "deletionTimestamp" in item["metadata"]]

    wait_until(180, "the scenarios' namespaces to be gone", lambda: not ending())


def one_line(failure):
    text = " ".join(str(failure).split()) or type(failure).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def print_table(results, seconds):
    print("\nscenario                 outcome  seconds   numbers")
    for result in results:
        print(result.line())
    count = {outcome: sum(r.outcome == outcome for r in results) for outcome in ("ok", "failed", "skipped")}
    print(f"{count['ok']} ok, {count['failed']} failed, {count['skipped']} skipped in "
          f"{int(seconds // 60)} min {int(seconds % 60)} s")
    print(f"not run by this test: {', '.join(scenarios.NOT_RUN)}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print the scenarios and end")
    parser.add_argument("--keep", action="store_true", help="leave the namespace of a failed scenario")
    parser.add_argument("--logs", default="", help="where a failed scenario leaves logs; default: a new folder")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    args = parser.parse_args()
    unknown = [name for name in args.scenarios if name not in scenarios.ALL]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are: {', '.join(scenarios.ALL)}")
    return args


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made is removed
    args = arguments()
    if args.list:
        for name, function in scenarios.ALL.items():
            print(f"{name:<24} {(function.__doc__ or '').splitlines()[0]}")
        return 0
    settings = Settings.from_environment()
    logs = pathlib.Path(args.logs or tempfile.mkdtemp(prefix="cohort-k8s-e2e-"))
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        if not storage.has_default_class():
            print("the cluster has no default StorageClass: volumes are folders of one node", file=sys.stderr)
            stack.enter_context(storage.NodeFolders(settings.image("cli"), settings.pull_policy))
        stack.enter_context(settings.at_end)
        results = [run_scenario(name, settings, logs, args.keep) for name in args.scenarios or scenarios.ALL]
        clean(wait_for_namespaces)
    print_table(results, time.monotonic() - start)
    return 1 if any(result.outcome == "failed" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
