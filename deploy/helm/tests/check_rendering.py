"""Rules that every rendering of the chart keeps and no schema knows.

    check_rendering.py FILE...    files of rendered objects; prints what breaks a rule, ends with 1 then
"""
import sys

import yaml

NAMESPACED = {"Service", "Job", "Deployment", "PodDisruptionBudget", "NetworkPolicy", "ConfigMap", "Secret", "Pod",
              "PersistentVolumeClaim", "ServiceAccount", "Role", "RoleBinding", "HorizontalPodAutoscaler",
              "ScaledObject", "PodMonitor", "PrometheusRule", "Certificate", "Issuer"}
MAY_HOLD_A_TOKEN = {"finisher"}
# Outside the restricted level because a value asked for it.
OUTSIDE = {"hostPath"}


def pod_templates(objects):
    for thing in objects:
        if thing["kind"] in ("Job", "Deployment"):
            yield thing, thing["spec"]["template"]
        elif thing["kind"] == "Pod":
            yield thing, thing


def restricted(name, template):
    """The restricted level of Pod Security, field by field."""
    spec = template["spec"]
    security = spec.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield f"{name}: expected runAsNonRoot and a numeric user"
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{name}: expected seccompProfile RuntimeDefault"
    if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield f"{name}: takes a namespace of the host"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected", "downwardAPI"} | OUTSIDE:
            yield f"{name}: volume {volume['name']} is of kind {kinds}"
    for container in spec.get("initContainers", []) + spec["containers"]:
        inner = container.get("securityContext", {})
        if inner.get("allowPrivilegeEscalation") is not False or inner.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"{name}: container {container['name']} may gain privileges"
        if "readOnlyRootFilesystem" not in inner:
            yield f"{name}: container {container['name']} says nothing about its root file system"


def containers(name, template):
    for container in template["spec"].get("initContainers", []) + template["spec"]["containers"]:
        names = [variable["name"] for variable in container.get("env", [])]
        if len(names) != len(set(names)):
            yield f"{name}: container {container['name']} has a variable twice"
        image = container["image"]
        if image.endswith(":latest") or (":" not in image.rsplit("/", 1)[-1] and "@" not in image):
            yield f"{name}: image {image} has neither tag nor digest"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield f"{name}: container {container['name']} has no memory limit"


def identity(name, template):
    labels = template["metadata"]["labels"]
    part = labels["app.kubernetes.io/component"]
    if template["spec"].get("automountServiceAccountToken") is not (part in MAY_HOLD_A_TOKEN):
        yield f"{name}: expected automountServiceAccountToken {part in MAY_HOLD_A_TOKEN}"


def job(thing):
    template = thing["spec"]["template"]
    found = str(template["metadata"])
    if "helm.sh/chart" in found or "checksum" in found or "app.kubernetes.io/version" in found:
        yield "its template changes with the chart, so no upgrade could apply it"
    if template["metadata"]["labels"]["app.kubernetes.io/component"] != "learner":
        return
    last = thing["spec"]["completions"] - 1
    if len(f"{thing['metadata']['name']}-{max(last, 998)}") > 63:
        yield "its pods' host names are longer than 63 characters"
    rules = thing["spec"]["podFailurePolicy"]["rules"]
    if [rule["action"] for rule in rules] != ["FailJob", "Ignore"] or thing["spec"]["podReplacementPolicy"] != "Failed":
        yield "expected podReplacementPolicy Failed and the rules for exit code 42 and disruptions"


def problems(objects):
    for thing in objects:
        name = f"{thing['kind']} {thing['metadata']['name']}"
        if thing["kind"] not in NAMESPACED:
            yield f"{name}: not among the kinds that this chart may make"
        if len(thing["metadata"]["name"]) > 63:
            yield f"{name}: its name has more than 63 characters"
        if thing["kind"] == "Job":
            yield from (f"{name}: {text}" for text in job(thing))
        strategy = thing["spec"].get("strategy", {}) if thing["kind"] == "Deployment" else {}
        if strategy.get("type") == "Recreate" and "rollingUpdate" in strategy:
            yield f"{name}: rollingUpdate beside Recreate, which Kubernetes refuses"
        if thing["kind"] == "PodDisruptionBudget":
            if not any(isinstance(thing["spec"].get(key), int) for key in ("minAvailable", "maxUnavailable")):
                yield f"{name}: expected an integer"
    for thing, template in pod_templates(objects):
        name = f"{thing['kind']} {thing['metadata']['name']}"
        yield from identity(name, template)
        yield from containers(name, template)
        yield from restricted(name, template)


def main():
    count = failed = 0
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            objects = [thing for thing in yaml.safe_load_all(file) if thing]
        count += len(objects)
        for text in problems(objects):
            print(f"{path}: {text}")
            failed = 1
    if count == 0:
        sys.exit("expected rendered objects, found none")
    sys.exit(failed)


if __name__ == "__main__":
    main()
