"""A default StorageClass for clusters that have none: volumes are folders of one node.

Only scripts/k8s-e2e uses it. A cluster with a default StorageClass is left as it is.
"""

import threading
import uuid

from k8s import Cluster, Failed, run, wait_until

CLASS = "cohort-e2e"
NAMESPACE = "cohort-e2e-storage"
FOLDER = "/var/tmp/cohort-e2e"
FREE_VOLUMES = 4  # more than one scenario claims at once
DEFAULT = "storageclass.kubernetes.io/is-default-class"


def has_default_class():
    """One of the cluster's own: that of this test may be left from a test that was killed."""
    classes = Cluster().get("storageclass")["items"]
    return any(item["metadata"].get("annotations", {}).get(DEFAULT) == "true" and item["metadata"]["name"] != CLASS
               for item in classes)


def volumes():
    return [volume for volume in Cluster().get("pv")["items"] if volume["spec"].get("storageClassName") == CLASS]


class NodeFolders:
    """Has volumes for claims of its class until it is closed: `with NodeFolders(image, pull_policy): ...`

    A pod (the keeper) makes the folders, because a volume of type hostPath is not given to a pod's group.
    """

    def __init__(self, image, pull_policy):
        self._image = image
        self._pull_policy = pull_policy
        self._cluster = Cluster(NAMESPACE)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=120)
        run(["kubectl", "delete", "storageclass", CLASS, "--ignore-not-found"])
        Cluster().apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "kubernetes.io/no-provisioner",
             "metadata": {"name": CLASS, "annotations": {DEFAULT: "true"}}, "volumeBindingMode": "WaitForFirstConsumer"})
        wait_until(30, "the service account of the storage keeper",
                   lambda: self._cluster.exists("serviceaccount", "default"))
        self._cluster.apply(self._keeper())
        wait_until(60, "the storage keeper to run", lambda: self._cluster.phase("keeper") == "Running")
        self._node = self._cluster.out("get", "pod", "keeper", "-o", "jsonpath={.spec.nodeName}").strip()
        self._top_up()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(60)
        self._remove(volume for volume in volumes() if volume["status"].get("phase") != "Bound")
        self._cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)
        run(["kubectl", "delete", "storageclass", CLASS], check=False)

    def _keeper(self):
        container = {"name": "main", "image": self._image, "imagePullPolicy": self._pull_policy,
                     "command": ["sleep", "infinity"], "securityContext": {"runAsUser": 0},
                     "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
        volume = {"name": "data", "hostPath": {"path": FOLDER, "type": "DirectoryOrCreate"}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "keeper"},
                "spec": {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 0}}

    def _serve(self):
        while not self._stop.wait(1):
            try:
                self._remove_released()
                self._top_up()
            except Failed:
                continue  # the next round tries again; a claim that stays pending fails its scenario by name

    def _top_up(self):
        """Volumes wait for claims, not the other way round: a pod is then scheduled at its first try."""
        free = [volume for volume in volumes() if volume["status"].get("phase") in (None, "Pending", "Available")]
        for _ in range(FREE_VOLUMES - len(free)):
            self._make_volume("cohort-e2e-" + uuid.uuid4().hex[:8])

    def _make_volume(self, name):
        self._cluster.kubectl("exec", "keeper", "--", "mkdir", "-p", "-m", "777", f"/data/{name}")
        on_node = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [self._node]}]}
        Cluster().apply({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"],
                     "persistentVolumeReclaimPolicy": "Retain", "storageClassName": CLASS,
                     "hostPath": {"path": f"{FOLDER}/{name}", "type": "DirectoryOrCreate"},
                     "nodeAffinity": {"required": {"nodeSelectorTerms": [on_node]}}}})

    def _remove_released(self):
        self._remove(volume for volume in volumes() if volume["status"].get("phase") == "Released")

    def _remove(self, unused):
        for volume in unused:
            name = volume["metadata"]["name"]
            self._cluster.kubectl("exec", "keeper", "--", "rm", "-rf", f"/data/{name}", check=False)
            run(["kubectl", "delete", "pv", name, "--wait=false"], check=False)
