"""The scenarios with Prometheus: what is scraped, asked and alerted, whether the demand ratio is right, autoscaling."""

import sys
import time

from external_metrics import ExternalMetrics
from k8s import Failed, wait_until
from prometheus import Prometheus
from release import ROOT, Release, merged, trained_steps
from scenarios import FOREVER, paced, require, scenario, tiny

sys.path.insert(0, str(ROOT / "tests/e2e"))
from dashboard_queries import has_data, of_dashboards  # noqa: E402

WINDOW_SECONDS = 60  # of the demand ratio here
SETTLE_SECONDS = 15  # until scaled workers work at their pace
# Many passes over each batch: the learner is slow while sampling costs next to nothing, so that two cores are enough
# for four workers at a pace of their own.
SLOW_LEARNER = {"learner": {"epochs": 40}, "optimizer": {"lr": 1e-12}, "checkpoint": {"every_steps": 10},
                "rollout": {"max_staleness": 4, "max_batch_rows": 8}}


@scenario
def metrics(cluster, settings):
    """Prometheus sees every pod, answers every panel's query, no alert fires, and the demand ratio is as predicted."""
    release, config = Release(cluster, settings), tiny(FOREVER, SLOW_LEARNER)
    release.install(config, paced(100_000))
    release.wait_step(2)
    with Prometheus(release) as prometheus:
        prometheus.wait_up(1, 1)
        # Half the learner's speed: 1, 2 and 4 workers are half, just and twice as many as it can feed on.
        pace = full_buffer_speed(release, 40) / 2
        prometheus.require_quiet("under load")
        release.upgrade(config, paced(f"{pace:.1f}"))
        ratios = {count: demand_ratio(release, prometheus, count, pace) for count in (1, 2, 4)}
        answered, with_data = ask_everything(prometheus)
    numbers = (", ".join(f"{count} workers: {found:.2f} ({expected:.2f} predicted)"
                         for count, (found, expected) in ratios.items()) +
               f"; {answered} queries answered, {with_data} with data; pace {pace:.0f} tokens/s")
    require(all(abs(found - expected) <= 0.2 * expected for found, expected in ratios.values()), numbers)
    return numbers


@scenario
def autoscaling(cluster, settings):
    """An autoscaler that follows cohort:rollout_workers_wanted stops at the number that keeps the learner busy."""
    release, config = Release(cluster, settings), tiny(FOREVER, SLOW_LEARNER)
    release.install(config, paced(100_000))
    release.wait_step(2)
    with Prometheus(release) as prometheus, ExternalMetrics(cluster, prometheus, "cohort:rollout_workers_wanted"):
        pace = full_buffer_speed(release, 40) / 2.5  # so that it can feed on two and a half
        scaling = {"rollout": {"autoscaling": {"kind": "hpa", "maxReplicas": 5}}}
        start = time.monotonic()
        release.upgrade(config, merged(paced(f"{pace:.1f}"), scaling))
        wait_until(60, "the autoscaler to begin with one worker", lambda: release.replicas() == 1)
        wait_until(240, "the autoscaler to ask for three workers", lambda: release.replicas() == 3)
        seconds = time.monotonic() - start
        release.wait_serving(3, 60)
        time.sleep(WINDOW_SECONDS + 30)  # long enough for it to change its mind
        require(release.replicas() == 3, f"{release.replicas()} workers after another minute and a half, expected 3")
        wanted = prometheus.number("cohort:rollout_workers_wanted")
    return f"3 of at most 5 workers after {seconds:.0f} s, wanted {wanted:.2f} (2.50 predicted)"


def demand_ratio(release, prometheus, count, pace):
    """(found, predicted) with so many workers."""
    release.scale(count)
    release.wait_serving(count, 60)
    prometheus.wait_up(1, count)
    time.sleep(SETTLE_SECONDS)
    speed = full_buffer_speed(release, WINDOW_SECONDS)  # over the window of the ratio
    prometheus.require_quiet(f"with {count} workers")
    return prometheus.number("cohort:demand_ratio"), speed / (count * pace)


def full_buffer_speed(release, seconds):
    """Tokens per second that the learner trains while it waits for nothing, from its own records."""
    first = len(trained_steps(release.read_run("metrics.jsonl")))
    time.sleep(seconds)  # the time over which the speed is measured
    steps = trained_steps(release.read_run("metrics.jsonl"))[first:]
    require(len(steps) >= 5, f"{len(steps)} steps within {seconds} s, expected at least 5")
    tokens = steps[-1]["groups/sampled_tokens"] - steps[0]["groups/sampled_tokens"]
    return tokens / sum(step["time/step"] - step["wait/learner"] for step in steps[1:])


def ask_everything(prometheus):
    """(answered, with data): every query of every panel. Which may be empty is tests/e2e/monitoring.py's matter."""
    with_data = 0
    queries = list(of_dashboards())
    for where, expression in queries:
        try:
            with_data += has_data(prometheus.series(expression))
        except Failed as failure:
            raise Failed(f"{where}: {failure}") from failure
    require(with_data >= 0.75 * len(queries), f"{with_data} of {len(queries)} queries have data")
    return len(queries), with_data
