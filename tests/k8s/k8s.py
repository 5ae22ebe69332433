"""kubectl and helm as functions, and waits that say what they waited for. Python's standard library is all.

Every call has a deadline. A command that fails raises Failed with its command line and what it printed;
a wait that ends raises Failed with what it waited for and what it saw last.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import time
import urllib.request

POLL_SECONDS = 0.5
FORWARD_SECONDS = 600  # the most that a forwarded port is used


class Failed(Exception):
    """Something of the cluster or of Cohort was not as expected; the message is for people."""


class Skipped(Exception):
    """The scenario cannot run on this cluster; the message says what it lacks."""


def run(command, *, check=True, timeout=60, text=None):
    """Runs a command to its end and returns (exit status, stdout, stderr)."""
    words = [str(word) for word in command]
    line = " ".join(word if len(word) < 120 else word[:117] + "..." for word in words)
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"`{line}` did not end within {timeout} s") from late
    if check and done.returncode != 0:
        raise Failed(f"`{line}` ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.returncode, done.stdout, done.stderr


def wait_until(seconds, what, probe):
    """Calls probe() until it returns something true, which is returned.

    A probe that raises Failed counts as not yet; its message is part of what the wait says when it ends.
    """
    end = time.monotonic() + seconds
    seen = None
    while True:
        try:
            value = probe()
            if value:
                return value
            seen = value
        except Failed as not_yet:
            seen = not_yet
        if time.monotonic() > end:
            raise Failed(f"gave up after {seconds} s waiting for {what}; last seen: {seen}")
        time.sleep(POLL_SECONDS)


def find_program(variable, *places):
    """The program that an environment variable names, else the first of `places` that exists."""
    for place in [os.environ.get(variable, ""), *places]:
        path = shutil.which(os.path.expanduser(place)) if place else None
        if path:
            return path
    raise Failed(f"no {places[-1]} found: name it with {variable}=PATH")


class Cluster:
    """One namespace of the cluster that KUBECONFIG names."""

    def __init__(self, namespace=None):
        self.namespace = namespace

    def kubectl(self, *words, **options):
        scope = ["-n", self.namespace] if self.namespace else []
        return run(["kubectl", *scope, *words], **options)

    def out(self, *words, **options):
        return self.kubectl(*words, **options)[1]

    def get(self, *words):
        return json.loads(self.out("get", *words, "-o", "json"))

    def items(self, kind, selector=""):
        return self.get(kind, *(["-l", selector] if selector else []))["items"]

    def apply(self, *documents):
        body = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "-f", "-", text=json.dumps(body))

    def exists(self, kind, name):
        return self.kubectl("get", kind, name, check=False)[0] == 0

    def create_namespace(self):
        """The scenario's own namespace, under the strictest Pod Security level."""
        self.delete_namespace()
        labels = {"pod-security.kubernetes.io/enforce": "restricted", "cohort.dev/e2e": "true"}
        Cluster().apply({"apiVersion": "v1", "kind": "Namespace",
                         "metadata": {"name": self.namespace, "labels": labels}})
        wait_until(30, f"the default service account of {self.namespace}",
                   lambda: self.exists("serviceaccount", "default"))

    def delete_namespace(self):
        run(["kubectl", "delete", "namespace", self.namespace, "--ignore-not-found", "--wait=true"], timeout=180)

    def leave_namespace(self):
        """Starts its deletion and waits until its pods are gone, so that the next scenario has the nodes to itself."""
        run(["kubectl", "delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false"])
        wait_until(120, f"the pods of {self.namespace} to be gone", lambda: not self.items("pods"))

    @contextlib.contextmanager
    def forwarded(self, pod, port):
        """`kubectl port-forward` for as long as the context lasts: gives http://127.0.0.1:PORT."""
        command = ["kubectl", "-n", self.namespace, "port-forward", f"pod/{pod}", f":{port}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            end = threading.Timer(FORWARD_SECONDS, process.kill)  # also ends the read of a line that never comes
            end.start()
            try:
                said = process.stdout.readline()
                found = re.match(r"Forwarding from (127\.0\.0\.1:\d+)", said)
                if not found:
                    raise Failed(f"`{' '.join(command)}` said {said.strip()!r}, expected the port it forwards")
                yield f"http://{found[1]}"
            finally:
                end.cancel()
                process.kill()

    def fetch(self, pod, port, path, seconds=10):
        """The body of an HTTP answer of a pod."""
        with self.forwarded(pod, port) as address:
            try:
                with urllib.request.urlopen(address + path, timeout=seconds) as answer:
                    return answer.read().decode()
            except OSError as error:
                raise Failed(f"{path} of port {port} of pod {pod}: {error}") from error

    def run_pod(self, name, image, command, *, claim=None, seconds=120, pull_policy="IfNotPresent"):
        """Runs a one-off pod to its end and returns its output. `claim` is mounted at /run/cohort."""
        pod = one_off_pod(name, image, command, claim, pull_policy)
        self.apply(pod)
        try:
            wait_until(seconds, f"pod {name} to end", lambda: self.phase(name) in ("Succeeded", "Failed"))
            log = self.out("logs", name)
            if self.phase(name) != "Succeeded":
                raise Failed(f"pod {name} failed: {log.strip()[-2000:]}")
            return log
        finally:
            self.kubectl("delete", "pod", name, "--force", "--grace-period=0", "--wait=false", check=False)

    def phase(self, pod):
        return self.out("get", "pod", pod, "-o", "jsonpath={.status.phase}").strip()

    def collect(self, folder):
        """Leaves in `folder` what a person needs to see why a scenario failed."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "objects.txt").write_text(self.kubectl("get", "all,pvc,configmap,pdb", "-o", "wide", check=False)[1])
        (folder / "describe.txt").write_text(self.kubectl("describe", "pods,jobs,deployments,pvc", check=False)[1])
        (folder / "events.txt").write_text(
            self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)[1])
        (folder / "nodes.txt").write_text(run(["kubectl", "describe", "nodes"], check=False)[1])
        for pod in self.items("pods"):
            name = pod["metadata"]["name"]
            for previous in ([], ["--previous"]):
                log = self.kubectl("logs", name, "--all-containers", "--prefix", "--tail=500", *previous, check=False)[1]
                if log:
                    (folder / f"{name}{'.previous' if previous else ''}.log").write_text(log)


def one_off_pod(name, image, command, claim, pull_policy):
    volumes = [{"name": "work", "emptyDir": {}}]
    mounts = [{"name": "work", "mountPath": "/work"}]
    if claim:
        volumes.append({"name": "run", "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": "run", "mountPath": "/run/cohort"})
    container = {
        "name": "main", "image": image, "imagePullPolicy": pull_policy, "command": command, "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"restartPolicy": "Never", "automountServiceAccountToken": False, "securityContext": security,
                     "containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1}}
