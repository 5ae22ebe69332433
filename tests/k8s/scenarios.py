"""What Cohort promises on Kubernetes, one function each: scenario(cluster, settings) -> numbers for the table.

A scenario raises Failed with a sentence, or Skipped with what the cluster lacks. Its namespace is new and is
removed afterwards by the runner.
"""

import json
import statistics
import time

from k8s import Cluster, Failed, run, wait_until
from release import Release, check_history, check_ledger, merged, trained_steps

NOT_RUN = ("cert-manager", "KEDA", "Kueue", "enforcement of NetworkPolicies", "nodes with GPUs")
FOREVER = 1_000_000  # steps: the scenario ends before the run does

ALL = {}


def scenario(function):
    ALL[function.__name__.replace("_", "-")] = function
    return function


def tiny(steps, over=None):
    """A run of the tiny model whose reward, the letter e, it learns in a few steps."""
    return merged({
        "run": {"seed": 7, "steps": steps, "name": "e2e", "spurious": True},
        "model": {"path": "/models/policy", "dtype": "fp32", "device": "cpu"},
        "data": {"task": "addition-1"},
        "rollout": {"group_size": 8, "max_new_tokens": 8, "max_staleness": 1, "threads": 1, "heartbeat_seconds": 1,
                    "max_batch_rows": 16},
        "learner": {"prompts_per_step": 8, "threads": 1},
        "algorithm": {"reward": {"sources": [{"name": "contains", "text": "e"}]}},
        "optimizer": {"lr": 1e-2},
        "checkpoint": {"every_steps": 5, "keep_last": 2},
        "eval": {"samples": 0},
    }, over or {})


def paced(tokens_per_second, replicas=1):
    """Values for workers that sample at a given speed, so that two cores are enough for several."""
    return {"rollout": {"replicas": replicas, "extraArgs": ["--pace", str(tokens_per_second)]}}


def require(condition, message):
    if not condition:
        raise Failed(message)


# ---- installing and scaling ----


@scenario
def install(cluster, settings):
    """helm install trains: steps are made and the reward rises."""
    release = Release(cluster, settings)
    start = time.monotonic()
    release.install(tiny(FOREVER), paced(4000))
    release.wait_step(1, 120)
    first = time.monotonic() - start
    release.wait_step(40, 120)
    check_ledger(release.status())
    rewards = [record["reward/mean"] for record in trained_steps(release.read_run("metrics.jsonl"))]
    before, after = statistics.mean(rewards[:3]), statistics.mean(rewards[35:40])
    require(after > before + 0.1, f"reward {before:.3f} of steps 1-3 did not rise: {after:.3f} in steps 36-40")
    return f"first step after {first:.0f} s, reward {before:.2f} -> {after:.2f}"


def samples_per_second(release, seconds, group_size):
    """From what the learner has accepted over a while."""

    def accepted():
        return time.monotonic(), int(release.status()["deliveries"].get("accepted", 0))

    start, before = accepted()
    time.sleep(seconds)  # the time over which the rate is measured, not a wait for something
    end, after = accepted()
    return (after - before) * group_size / (end - start)


@scenario
def scale(cluster, settings):
    """Four serving workers within 20 s of kubectl scale; samples per second grow linearly with workers."""
    release = Release(cluster, settings)
    # One group at a time and weights that stay as they are: the same work in every window of time.
    config = tiny(FOREVER, {"rollout": {"max_staleness": 4, "max_batch_rows": 8}, "optimizer": {"lr": 1e-12},
                            "checkpoint": {"every_steps": 0}})
    release.install(config, paced(160))
    release.wait_step(2)
    rates = {1: samples_per_second(release, 15, 8)}
    release.scale(2)
    release.wait_serving(2, 30)
    rates[2] = samples_per_second(release, 15, 8)
    release.scale(4)
    seconds = release.wait_serving(4, 20)
    rates[4] = samples_per_second(release, 15, 8)
    check_ledger(release.status())
    shares = {count: rates[count] / (count * rates[1]) for count in (2, 4)}
    numbers = (f"4 serving after {seconds:.0f} s; samples/s " + ", ".join(f"{rates[n]:.1f}" for n in (1, 2, 4)) +
               f" with 1, 2, 4 workers: {shares[2]:.0%}, {shares[4]:.0%} linear")
    require(min(shares.values()) >= 0.85, numbers)
    return numbers


@scenario
def first_group(cluster, settings):
    """From the creation of a worker's pod to its first accepted group: at most 15 s."""
    release = Release(cluster, settings)
    release.install(tiny(FOREVER, {"checkpoint": {"every_steps": 0}}))
    release.wait_step(2)
    seconds = [seconds_to_first_group(release) for _ in range(3)]
    numbers = f"{min(seconds):.1f}, {statistics.median(seconds):.1f}, {max(seconds):.1f} s (least, median, most of 3)"
    require(max(seconds) <= 15, numbers)
    return numbers


def seconds_to_first_group(release):
    """Of a pod that replaces the only one, so that whatever is accepted afterwards is its own."""
    release.scale(0)
    wait_until(60, "the worker to leave", lambda: not release.connected())
    before = int(release.status()["deliveries"].get("accepted", 0))
    start = time.monotonic()
    release.scale(1)
    wait_until(60, "the new worker's first group",
               lambda: int(release.status()["deliveries"].get("accepted", 0)) > before)
    return time.monotonic() - start


@scenario
def drain(cluster, settings):
    """kubectl scale from 4 to 1 loses nothing: workers finish or give back what they hold."""
    release = Release(cluster, settings)
    release.install(tiny(FOREVER, {"rollout": {"max_staleness": 4}}), paced(160, replicas=4))
    release.wait_serving(4, 60)
    step = release.wait_step(2)
    start = time.monotonic()
    release.scale(1)
    wait_until(60, "three workers to leave", lambda: len(release.connected()) == 1)
    seconds = time.monotonic() - start
    release.wait_step(step + 5)
    check_ledger(release.status())
    check_history(release.read_run("metrics.jsonl"), release.read_run("groups.jsonl"))
    return f"three workers left in {seconds:.0f} s"


# ---- faults ----


def finish_and_check(release, steps, seconds=240):
    """Waits for the end of a run that something happened to, and looks into its records."""
    release.wait_job("Complete", seconds)
    metrics, groups = release.read_volume("metrics.jsonl"), release.read_volume("groups.jsonl")
    check_history(metrics, groups)
    made = [record["step"] for record in trained_steps(metrics)]
    require(made == list(range(1, steps + 1)), f"steps in metrics.jsonl: {made}, expected 1 to {steps}")
    return f"steps 1 to {steps} once each, {len(groups)} prompts, none twice"


@scenario
def worker_killed(cluster, settings):
    """A worker's pod deleted by force costs no prompt."""
    release = Release(cluster, settings)
    release.install(tiny(30), paced(200, replicas=2))
    release.wait_serving(2, 60)
    release.wait_step(5)
    victim = release.pods("rollout")[0]["metadata"]["name"]
    cluster.kubectl("delete", "pod", victim, "--force", "--grace-period=0")
    release.wait_step(15)
    release.wait_serving(2, 60)
    check_ledger(release.status())
    return finish_and_check(release, 30)


@scenario
def learner_killed(cluster, settings):
    """The learner's pod deleted by force: the run continues from its volume."""
    release = Release(cluster, settings)
    release.install(tiny(30), paced(200, replicas=2))
    release.wait_step(8)
    seconds = replace_learner(
        release, lambda pod: cluster.kubectl("delete", "pod", pod, "--force", "--grace-period=0"))
    return f"next step after {seconds:.0f} s; " + finish_and_check(release, 30)


@scenario
def learner_drained(cluster, settings):
    """kubectl drain of the learner's node: it saves, leaves, and the run continues elsewhere."""
    release = Release(cluster, settings)
    release.install(tiny(30), paced(200, replicas=2))
    step = release.wait_step(8)

    def drain_node(pod):
        node = cluster.out("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}").strip()
        selector = f"app.kubernetes.io/instance={release.name},app.kubernetes.io/component=learner"
        try:
            run(["kubectl", "drain", node, f"--pod-selector={selector}", "--ignore-daemonsets",
                 "--delete-emptydir-data", "--timeout=60s"], timeout=90)
        finally:
            run(["kubectl", "uncordon", node])

    seconds = replace_learner(release, drain_node)
    workers_were_not_restarted(cluster)
    failed = release.job()["status"].get("failed", 0)
    numbers = finish_and_check(release, 30)
    steps = [record["step"] for record in trained_steps(release.read_volume("metrics.jsonl"))]
    require(len(steps) == len(set(steps)) and step >= 8, "a step was repeated although the learner could save")
    return f"next step after {seconds:.0f} s, counted failures {failed}; {numbers}"


def workers_were_not_restarted(cluster):
    """They wait for the next learner in the processes that they have."""
    restarts = {pod["metadata"]["name"]: status["restartCount"]
                for pod in cluster.items("pods", "app.kubernetes.io/component=rollout")
                for status in pod["status"].get("containerStatuses", []) if status["restartCount"]}
    require(not restarts, f"expected workers that wait for the learner, found restarts {restarts}")


def replace_learner(release, end):
    """Ends the learner's pod and waits for a step that its replacement makes; returns the seconds."""
    old, before = release.learner_pod(), release.step()
    start = time.monotonic()
    end(old)
    wait_until(120, "a new pod of the learner", lambda: release.learner_pod() != old)
    wait_until(120, "a step of the new learner", lambda: release.learner_pod() != old and release.step() > before)
    return time.monotonic() - start


@scenario
def rolling_restart(cluster, settings):
    """kubectl rollout restart under load loses nothing."""
    release = Release(cluster, settings)
    release.install(tiny(FOREVER, {"rollout": {"max_staleness": 4}}), paced(160, replicas=3))
    release.wait_serving(3, 60)
    release.wait_step(3)
    start = time.monotonic()
    cluster.kubectl("rollout", "restart", "deployment", release.rollout)
    cluster.kubectl("rollout", "status", "deployment", release.rollout, "--timeout=120s", timeout=130)
    seconds = time.monotonic() - start
    release.wait_step(release.step() + 5)
    release.wait_serving(3, 60)
    check_ledger(release.status())
    check_history(release.read_run("metrics.jsonl"), release.read_run("groups.jsonl"))
    return f"three workers replaced in {seconds:.0f} s"


# ---- several ranks ----

GPU = "nvidia.com/gpu"


def offer_gpus(settings):
    """Where no node has GPUs, one says that it has, until all scenarios are done: the CPU images take no notice."""
    nodes = Cluster().get("nodes")["items"]
    if any(int(node["status"]["allocatable"].get(GPU, 0)) > 0 for node in nodes):
        return
    node = nodes[0]["metadata"]["name"]
    patch_gpus(node, {"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "8"})
    settings.at_end.callback(patch_gpus, node, {"op": "remove", "path": "/status/capacity/nvidia.com~1gpu"})
    wait_until(60, f"{node} to offer GPUs",
               lambda: int(Cluster().get("node", node)["status"]["allocatable"].get(GPU, 0)) > 0)


def patch_gpus(node, operation):
    run(["kubectl", "patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps([operation])])


def ranks(pods, per_pod):
    return {"learner": {"pods": pods, "ranksPerPod": per_pod, "gpus": per_pod}}


def hashes_of(cluster, settings, name, pods, per_pod, steps):
    """The weight hash after each step of a run with so many ranks; one worker, so that the order is fixed."""
    release = Release(cluster, settings, name=name)
    release.install(tiny(steps, {"rollout": {"max_staleness": 0}}), ranks(pods, per_pod))
    release.wait_job("Complete", 180)
    records = trained_steps(release.read_volume("metrics.jsonl"))
    release.uninstall()
    return [record["weights/hash"] for record in records], [record["loss"] for record in records]


@scenario
def two_by_two_ranks(cluster, settings):
    """Two pods with two ranks each on Gloo make the same steps as one pod with four."""
    offer_gpus(settings)
    one, loss_one = hashes_of(cluster, settings, "cohort-one", 1, 4, 3)
    two, loss_two = hashes_of(cluster, settings, "cohort-two", 2, 2, 3)
    require(len(one) == len(two) == 3, f"{len(one)} and {len(two)} steps, expected 3")
    if one == two:
        return "weights equal bit by bit after each of 3 steps"
    difference = max(abs(a - b) for a, b in zip(loss_one, loss_two))
    require(difference <= 1e-6, f"losses differ by {difference}: {loss_one} and {loss_two}")
    return f"losses of 3 steps differ by at most {difference:.1e}"


@scenario
def rank_killed(cluster, settings):
    """One of four ranks killed: the others end too, both pods come back and the run continues."""
    offer_gpus(settings)
    release = Release(cluster, settings)
    release.install(tiny(30), merged(ranks(2, 2), paced(400)))
    step = release.wait_step(7)
    start = time.monotonic()
    kill = ("for p in /proc/[0-9]*; do if tr '\\0' ' ' <$p/cmdline | grep -q -- '[-]-local-rank=1'; "
            "then kill -9 ${p#/proc/}; exit 0; fi; done; exit 1")
    release.exec(release.learner_pod(release.peers), "sh", "-c", kill)
    wait_until(180, "a step after the rank's end", lambda: release.step() > step + 3)
    seconds = time.monotonic() - start
    return f"training again after {seconds:.0f} s; " + finish_and_check(release, 30)


# ---- upgrades ----


@scenario
def upgrade(cluster, settings):
    """Scaled counts survive upgrades; a semantic change is refused; certificates are renewed under running
    processes; steps, learning rate and image change as documented."""
    release = Release(cluster, settings)
    config, values = tiny(FOREVER), paced(200, replicas=2)
    release.install(config, values)
    release.wait_serving(2, 60)
    release.wait_step(6)
    upgrade_keeps_scaled_count(release, config, values)
    upgrade_refuses_semantic_change(release, config, values)
    renewed = upgrade_renews_certificates(release, config, values)
    numbers = upgrade_changes_steps(release, config, values)
    upgrade_rolls_back(release)
    release.test()
    return f"{numbers}; {renewed}; rollback and helm test: ok"


def upgrade_keeps_scaled_count(release, config, values):
    release.upgrade(config, merged(values, paced(200, replicas=1)))
    require(release.replicas() == 1, f"{release.replicas()} workers, expected the chart's new 1")
    release.scale(3)
    notes = release.upgrade(config, merged(values, paced(200, replicas=2)))
    require(release.replicas() == 3, f"{release.replicas()} workers after an upgrade, expected the 3 of kubectl scale")
    require("3" in notes, f"the notes do not say that 3 workers were kept: {notes}")


def upgrade_refuses_semantic_change(release, config, values):
    before = release.cluster.get("configmap", f"{release.name}-config")["data"]
    changed = merged(config, {"rollout": {"temperature": 0.7}})
    status, said = release.upgrade(changed, values, check=False)
    require(status != 0, "an upgrade that changes rollout.temperature was accepted")
    require("release" in said, f"the refusal does not ask for a new release: {said}")
    after = release.cluster.get("configmap", f"{release.name}-config")["data"]
    require(before == after, "the refused upgrade changed the ConfigMap")


def upgrade_renews_certificates(release, config, values):
    """No process restarts for it; the kubelet brings the files within a minute or two."""
    name = "cohort_tls_certificate_expiry_timestamp_seconds"
    learner, step = release.learner_pod(), release.step()
    old = release.metric(learner, name)
    start = time.monotonic()
    release.upgrade(config, merged(values, {"tls": {"generated": {"renew": "again"}}}))
    wait_until(180, "the learner to hold the new certificate", lambda: release.metric(learner, name) > old)
    seconds = time.monotonic() - start
    restarts_are_none(release)
    worker = release.pods("rollout")[0]["metadata"]["name"]
    release.cluster.kubectl("delete", "pod", worker, "--wait=false")  # the next one shows a new certificate, too
    release.wait_serving(3, 60)
    require(release.learner_pod() == learner, "the learner was replaced")
    wait_until(60, "a step with new certificates", lambda: release.step() > step)
    return f"new certificates in force after {seconds:.0f} s"


def upgrade_changes_steps(release, config, values):
    """The documented way: checkpoint, replace the Job, resume."""
    step = release.step()
    start = time.monotonic()
    release.delete_job()
    changed = merged(config, {"run": {"steps": FOREVER + 1}, "optimizer": {"lr": 5e-3}})
    tag = release.settings.next_tag
    release.upgrade(changed, merged(values, {"image": {"tag": tag}, "tls": {"generated": {"renew": "again"}}}))
    wait_until(120, "a step of the new Job", lambda: release.step() > step)
    seconds = time.monotonic() - start
    image = release.cluster.get("pod", release.learner_pod())["spec"]["containers"][0]["image"]
    require(image.endswith(":" + tag), f"the learner runs {image}, expected tag {tag}")
    require(int(release.status()["steps"]) == FOREVER + 1, "the new number of steps is not in force")
    check_history(release.read_run("metrics.jsonl"), release.read_run("groups.jsonl"))
    return f"new steps, learning rate and image: next step after {seconds:.0f} s"


def upgrade_rolls_back(release):
    """Also by replacing the Job. Helm applies the first revision as it was rendered, its two workers included."""
    step = release.step()
    release.delete_job()
    release.rollback("1")
    wait_until(120, "a step after the rollback", lambda: release.step() > step)
    require(int(release.status()["steps"]) == FOREVER, "the first number of steps is not in force again")
    require(release.replicas() == 2, f"rollback left {release.replicas()} workers, expected the 2 of the first revision")


# ---- own data, own rewards ----


@scenario
def own_data(cluster, settings):
    """Prompts from a ConfigMap."""
    rows = "".join(json.dumps({"prompt": f"Say the letter number {i}", "answer": str(i)}) + "\n" for i in range(64))
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"},
                   "data": {"prompts.jsonl": rows}})
    release = Release(cluster, settings)
    config = tiny(10, {"data": {"task": None, "path": "/data/prompts.jsonl"}})
    del config["data"]["task"]
    release.install(config, {"data": {"configMap": "prompts"}})
    numbers = finish_and_check(release, 10, 120)
    sources = {record["source"] for record in release.read_volume("groups.jsonl")}
    require(sources == {"prompts"}, f"prompts came from {sources}, expected prompts")
    return numbers


@scenario
def own_reward(cluster, settings):
    """A reward service of one's own in a container beside each worker."""
    release = Release(cluster, settings)
    sources = [{"name": "service", "address": "127.0.0.1:7070", "components": ["correct", "brevity"]}]
    config = tiny(10, {"algorithm": {"reward": {"sources": sources}}})
    release.install(config, {"reward": {"image": settings.image("reward-example")}})
    numbers = finish_and_check(release, 10, 180)
    last = trained_steps(release.read_volume("metrics.jsonl"))[-1]
    require("reward/service.correct/mean" in last or any("correct" in key for key in last),
            f"the service's parts are not in metrics.jsonl: {sorted(key for key in last if 'reward' in key)}")
    return numbers


@scenario
def code_reward(cluster, settings):
    """Programs are run and judged on workers that have Python."""
    rows = "".join(json.dumps({"prompt": f"Print {i}", "tests": [{"input": "", "output": f"{i}\n"}]}) + "\n"
                   for i in range(32))
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "problems"},
                   "data": {"problems.jsonl": rows}})
    release = Release(cluster, settings)
    config = tiny(4, {
        "data": {"sources": [{"path": "/data/problems.jsonl", "reward": "code_tests"}]},
        "algorithm": {"reward": {"sources": ["task"]}},
        "reward": {"code": {"interpreter": ["python3", "-I"]}}})
    del config["data"]["task"]
    release.install(config, {"data": {"configMap": "problems"}, "rollout": {"image": {"name": "cohort-rollout-python"}}})
    numbers = finish_and_check(release, 4, 180)
    unscorable = sum(record.get("rows/unscorable", 0) for record in trained_steps(release.read_volume("metrics.jsonl")))
    require(unscorable == 0, f"{unscorable} programs were not judged")
    return numbers


# ---- the end ----


@scenario
def finish(cluster, settings):
    """The run ends: no worker pods within 60 s, the checkpoint can be fetched and used, uninstall leaves the volume."""
    return finished_run(Release(cluster, settings))


@scenario
def helm4(cluster, settings):
    """The main path with Helm 4: install, scale, upgrade, the end, uninstall."""
    release = Release(cluster, settings, helm=settings.helm4)
    config, values = tiny(60), paced(400)
    release.install(config, values)
    release.wait_step(3)
    release.scale(4)
    seconds = release.wait_serving(4, 20)
    release.upgrade(config, values)
    require(release.replicas() == 4, f"{release.replicas()} workers after the upgrade, expected 4")
    return f"4 serving after {seconds:.0f} s; " + finished_run(release, installed=True)


def finished_run(release, installed=False):
    if not installed:
        release.install(tiny(20), paced(800, replicas=2))
    release.wait_job("Complete", 240)
    start = time.monotonic()
    wait_until(60, "the worker pods to be gone",
               lambda: not release.cluster.items("pods", "app.kubernetes.io/component=rollout"))
    seconds = time.monotonic() - start
    restarts_are_none(release)
    text = use_checkpoint(release)
    release.uninstall()
    wait_until(60, "uninstall to leave nothing but the volume",
               lambda: left_behind(release.cluster, release.name) == [f"PersistentVolumeClaim/{release.claim}"])
    return f"workers gone after {seconds:.0f} s; generated {len(text)} characters; the volume alone is left"


def restarts_are_none(release):
    events = release.cluster.items("events")
    crashes = [event["message"] for event in events if event.get("reason") == "BackOff"]
    require(not crashes, f"pods crashed in a loop: {crashes[:3]}")


def use_checkpoint(release):
    """Fetches the final checkpoint from the volume in one pod and generates from it."""
    script = ("set -e; cd /work; cohort export --run /run/cohort --out model.tar >&2; tar xf model.tar; "
              "cohort generate --model step-* --prompt 'What is 2 + 2?' --max-new-tokens 8 --temperature 0")
    return release.run_with_volume("fetch", ["sh", "-c", script])


def left_behind(cluster, release):
    """Namespaced objects that carry the release's label."""
    kinds = run(["kubectl", "api-resources", "--namespaced", "--verbs=list", "-o", "name"])[1].split()
    kinds = [kind for kind in kinds if not kind.startswith("events")]  # they end by themselves
    found = cluster.items(",".join(kinds), f"app.kubernetes.io/instance={release}")
    return sorted(f"{item['kind']}/{item['metadata']['name']}" for item in found)


# ---- the real model ----


@scenario
def smollm2(cluster, settings):
    """Two steps of the quickstart's model and task."""
    release = Release(cluster, settings)
    config = tiny(2, {"rollout": {"max_new_tokens": 24, "max_staleness": 0}, "learner": {"prompts_per_step": 2},
                      "optimizer": {"lr": 2e-5}, "algorithm": {"reward": {"sources": ["task"]}}})
    release.install(config, {"model": {"image": {"name": "cohort-model-smollm2"}},
                             "learner": {"resources": {"limits": {"memory": "6Gi"}}}})
    numbers = finish_and_check(release, 2, 300)
    last = trained_steps(release.read_volume("metrics.jsonl"))[-1]
    return f"reward {last['reward/mean']:.2f}; {numbers}"


