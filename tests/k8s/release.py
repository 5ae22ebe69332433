"""One release of the chart in one namespace: install, upgrade, ask, look into its run folder."""

import contextlib
import copy
import json
import os
import pathlib
import tempfile
import time

from k8s import Failed, find_program, run, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/cohort"
HTTP_PORT = 9090  # of every pod
HELM_CACHE = os.environ.get("COHORT_CACHE", "~/.cache/cohort") + "/tools"

# Small enough for a node of two cores; the step's numbers do not depend on them.
RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}


class Settings:
    """What scripts/k8s-e2e found: image names, the pull policy, both Helms."""

    def __init__(self, registry, tag, pull_policy, helm, helm4):
        self.registry, self.tag, self.pull_policy = registry, tag, pull_policy
        self.next_tag = tag + "-next"  # of images to upgrade to
        self.helm, self.helm4 = helm, helm4
        self.at_end = contextlib.ExitStack()  # what is undone when all scenarios are done

    @staticmethod
    def from_environment():
        return Settings(os.environ.get("COHORT_IMAGE_REGISTRY", ""), os.environ.get("COHORT_IMAGE_TAG", "e2e"),
                        os.environ.get("COHORT_IMAGE_PULL_POLICY", "IfNotPresent"),
                        find_program("HELM", HELM_CACHE + "/helm-3.19.5/helm", "helm"),
                        find_program("HELM4", HELM_CACHE + "/helm-4.3.1/helm", "helm4"))

    def image(self, name):
        prefix = self.registry + "/" if self.registry else ""
        return f"{prefix}cohort-{name}:{self.tag}"


def merged(base, over):
    """`base` with the values of `over`, maps merged key by key as Helm does."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


class Release:
    def __init__(self, cluster, settings, name="cohort", helm=None):
        self.cluster, self.settings, self.name = cluster, settings, name
        self.helm = helm or settings.helm

    # ---- Helm ----

    def base_values(self):
        settings = self.settings
        return {
            "image": {"registry": settings.registry, "tag": settings.tag, "pullPolicy": settings.pull_policy},
            "model": {"image": {"name": "cohort-model-tiny"}},
            "learner": {"resources": RESOURCES},
            "rollout": {"replicas": 1, "resources": RESOURCES},
            "persistence": {"size": "1Gi"},
        }

    def install(self, config, values=None, *extra):
        return self._helm("install", config, values, *extra)

    def upgrade(self, config, values=None, *extra, check=True):
        return self._helm("upgrade", config, values, *extra, check=check)

    def _helm(self, verb, config, values, *extra, check=True):
        """`config` is a dict; JSON is YAML, so it needs no library."""
        with tempfile.TemporaryDirectory() as folder:
            config_file, values_file = pathlib.Path(folder) / "run.yaml", pathlib.Path(folder) / "values.yaml"
            config_file.write_text(json.dumps(config, indent=1))
            values_file.write_text(json.dumps(merged(self.base_values(), values or {})))
            status, out, err = run(
                [self.helm, verb, self.name, CHART, "-n", self.cluster.namespace, "-f", values_file,
                 "--set-file", f"config={config_file}", *extra], check=check, timeout=120)
        return out if check else (status, out + err)

    def delete_job(self):
        """The first half of the documented way to change steps, learning rate, resources or image."""
        self.cluster.kubectl("delete", "job", "-l", f"cohort.dev/run={self.name}", "--cascade=foreground", timeout=180)

    def uninstall(self):
        run([self.helm, "uninstall", self.name, "-n", self.cluster.namespace, "--wait"], timeout=180)

    def test(self):
        return run([self.helm, "test", self.name, "-n", self.cluster.namespace], timeout=180)[1]

    def rollback(self, revision):
        run([self.helm, "rollback", self.name, revision, "-n", self.cluster.namespace], timeout=120)

    # ---- objects ----

    @property
    def learner(self):
        return f"{self.name}-learner"

    @property
    def peers(self):
        return f"{self.learner}-peers"

    @property
    def rollout(self):
        return f"{self.name}-rollout"

    @property
    def claim(self):
        return f"{self.name}-run"

    def pods(self, component):
        """Pods of a component that are not on their way out."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"
        return [pod for pod in self.cluster.items("pods", selector)
                if "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] not in ("Succeeded", "Failed")]

    def learner_pod(self, job=None):
        """Of rank 0, or the first of another Job of the learner."""
        job = job or self.learner
        for pod in self.pods("learner"):
            if pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job:
                return pod["metadata"]["name"]
        raise Failed(f"job {job} has no running pod")

    def ready_workers(self):
        return [pod for pod in self.pods("rollout") if is_ready(pod)]

    def scale(self, replicas):
        self.cluster.kubectl("scale", "deployment", self.rollout, f"--replicas={replicas}")

    def replicas(self):
        return self.cluster.get("deployment", self.rollout)["spec"]["replicas"]

    def job(self):
        return self.cluster.get("job", self.learner)

    def job_condition(self):
        """Complete, Failed or an empty string while it runs."""
        return next((c["type"] for c in self.job().get("status", {}).get("conditions", [])
                     if c["type"] in ("Complete", "Failed") and c["status"] == "True"), "")

    # ---- the run ----

    def exec(self, pod, *command, container="learner", **options):
        return self.cluster.kubectl("exec", pod, "-c", container, "--", *command, **options)[1]

    def status(self):
        said = self.exec(self.learner_pod(), "cohort", "status", "--json")
        try:
            return json.loads(said)
        except ValueError as error:
            raise Failed(f"`cohort status --json` is not JSON ({error}): {said[:200]}") from error

    def step(self):
        return int(self.status().get("step", 0))

    def connected(self):
        return [worker for worker in self.status().get("workers", []) if worker.get("connected")]

    def serving(self):
        """Connected workers that hold weights."""
        return [worker for worker in self.connected() if int(worker.get("held_version", -1)) >= 0]

    def read_run(self, name):
        """The records of a .jsonl file of the run folder, read in the learner's pod."""
        return parse_lines(self.exec(self.learner_pod(), "cat", f"/run/cohort/{name}"))

    def read_volume(self, name):
        """The same, of a run whose learner has ended: by a pod that mounts the volume."""
        return parse_lines(self.run_with_volume("reader", ["cat", f"/run/cohort/{name}"]))

    def run_with_volume(self, pod, command, seconds=120):
        return self.cluster.run_pod(pod, self.settings.image("cli"), command, claim=self.claim, seconds=seconds,
                                    pull_policy=self.settings.pull_policy)

    def metric(self, pod, name):
        """The value of a metric without labels, as the pod's /metrics says it."""
        for line in self.cluster.fetch(pod, HTTP_PORT, "/metrics").splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise Failed(f"{name} is not in /metrics of pod {pod}")

    # ---- waits ----

    def wait_step(self, step, seconds=120):
        return wait_until(seconds, f"step {step} of the run", lambda: self.step() >= step and self.step())

    def wait_serving(self, count, seconds):
        """Waits until exactly `count` workers serve and are ready; returns the seconds it took."""
        start = time.monotonic()
        wait_until(seconds, f"{count} serving workers",
                   lambda: len(self.serving()) == count and len(self.ready_workers()) == count)
        return time.monotonic() - start

    def wait_job(self, condition, seconds):
        wait_until(seconds, f"job {self.learner} to be {condition}", lambda: self.job_condition() == condition)


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def parse_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def trained_steps(metrics):
    """The records of metrics.jsonl that are steps."""
    return [record for record in metrics if "loss" in record]


def check_ledger(status):
    """No prompt is lost, and none failed for a reason that is not the model's."""
    ordinals = {name: int(count) for name, count in status.get("ordinals", {}).items()}
    for name in ("imbalance", "infra_failed"):
        if ordinals.get(name, 0) != 0:
            raise Failed(f"{name} is {ordinals[name]}, expected 0: {ordinals}")


def check_history(metrics, groups):
    """Every step is there once, and no prompt was trained twice."""
    steps = [record["step"] for record in trained_steps(metrics)]
    if steps != list(range(steps[0], steps[0] + len(steps))):
        raise Failed(f"steps in metrics.jsonl are not contiguous: {steps[:50]}")
    ordinals = [record["ordinal"] for record in groups]
    twice = sorted({ordinal for ordinal in ordinals if ordinals.count(ordinal) > 1}) if len(
        set(ordinals)) != len(ordinals) else []
    if twice:
        raise Failed(f"prompts in groups.jsonl twice: {twice[:20]}")
