"""A Prometheus in a scenario's namespace that finds the pods of the release as the chart's PodMonitor would."""

import json
import time
import urllib.parse

from k8s import Failed, wait_until
from release import ROOT

NAME = "prometheus"
PORT = 9090


class Prometheus:
    """Asked through the API server, so that nothing is forwarded."""

    def __init__(self, cluster, settings, run, window="1m"):
        """`window` is that of the demand ratio: the 15 minutes of the rules are long for a test."""
        self.cluster, self.settings, self.run, self.window = cluster, settings, run, window

    def start(self):
        rules = (ROOT / "deploy/prometheus/rules.yaml").read_text().replace("[15m]", f"[{self.window}]")
        metadata = {"name": NAME}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
             "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
             "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": self.cluster.namespace}]},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
             "data": {"prometheus.yml": json.dumps(self._config()), "rules.yaml": rules}},
            self._pod())
        wait_until(60, "Prometheus to answer", lambda: self.query("vector(1)"))

    def _config(self):
        keep = {"action": "keep", "regex": "learner|rollout",
                "source_labels": ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]}
        relabel = [
            keep,
            {"action": "keep", "regex": "http", "source_labels": ["__meta_kubernetes_pod_container_port_name"]},
            {"action": "drop", "regex": "Succeeded|Failed|Pending", "source_labels": ["__meta_kubernetes_pod_phase"]},
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
            {"source_labels": ["__meta_kubernetes_pod_label_app_kubernetes_io_component"], "target_label": "role"},
            {"target_label": "run", "replacement": self.run},
        ]
        pods = {"role": "pod", "namespaces": {"names": [self.cluster.namespace]}}
        return {"global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "2s"},
                "rule_files": ["/etc/prometheus/rules.yaml"],
                "scrape_configs": [{"job_name": "cohort", "kubernetes_sd_configs": [pods], "relabel_configs": relabel}]}

    def _pod(self):
        container = {
            "name": NAME, "image": self.settings.image(NAME), "imagePullPolicy": self.settings.pull_policy,
            "args": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/data",
                     f"--web.listen-address=:{PORT}"],
            "ports": [{"containerPort": PORT}], "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "512Mi"}},
            "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/prometheus"}, {"name": "data", "mountPath": "/data"}]}
        security = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME},
                "spec": {"serviceAccountName": NAME, "securityContext": security, "containers": [container],
                         "terminationGracePeriodSeconds": 5, "volumes": [
                             {"name": "config", "configMap": {"name": NAME}}, {"name": "data", "emptyDir": {}}]}}

    def ask(self, path, **arguments):
        address = (f"/api/v1/namespaces/{self.cluster.namespace}/pods/{NAME}:{PORT}/proxy/api/v1/{path}?" +
                   urllib.parse.urlencode(arguments))
        said = self.cluster.out("get", "--raw", address)
        try:
            return json.loads(said)["data"]
        except (ValueError, KeyError) as error:
            raise Failed(f"Prometheus answered {path} with {said[:300]}") from error

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
