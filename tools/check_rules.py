#!/usr/bin/env python3
"""Checks Prometheus rules: their form, and what each alert does in series that are written down.

    tools/check_rules.py PROMTOOL RULES TESTS RUNBOOK METRICS

TESTS is a folder with alerts.yaml, recorded.yaml and healthy.yaml, of which tests for promtool are made; METRICS
is a text with the names of all metrics (docs/metrics.md). promtool ends with 0 where a rule is there twice, where a test names no alert
of the rules, where rule_files match nothing and where a file has no tests: each of these fails here.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

SELECTOR = re.compile(r"\b((?:cohort|process)(?::|_)[a-z0-9_:]+|up)\b(\{[^}]*\})?")
RUN = 'run=~".+"'
SEVERITIES = {"critical", "warning", "info"}
# Text between quotes and label lists of `by` hold no metric.
NOT_METRICS = re.compile(r"\b(?:by|on|ignoring)\s*\([^)]*\)")


class Failure(Exception):
    """A sentence for the person who changed the rules."""


def require(condition, text):
    if not condition:
        raise Failure(text)


def load(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def load_tests(path):
    """Every scalar as its text: to YAML `0x60`, a 0 that is repeated, is the number 96."""
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Loader=yaml.BaseLoader)


def rules_of(groups):
    return [rule for group in groups["groups"] for rule in group["rules"]]


def metrics_of(expression):
    """Names of the metrics of an expression, and its selectors that name no run."""
    without = NOT_METRICS.sub("", expression)
    found = [(name, labels or "") for name, labels in SELECTOR.findall(without)]
    return {name for name, _ in found}, [name for name, labels in found if RUN not in labels]


# ---- The form of the rules. ----


def check_form(rules, runbook, known):
    recorded = {rule["record"] for rule in rules if "record" in rule}
    names = [rule.get("alert") or rule["record"] for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"rules that are there twice: {', '.join(twice)}")
    for rule in rules:
        name = rule.get("alert") or rule["record"]
        used, bare = metrics_of(rule["expr"])
        require(not bare, f"{name}: expected {RUN} in every selector, not in those of {', '.join(bare)}")
        require(used, f"{name}: names no metric")
        unknown = sorted(metric for metric in used - recorded - known if base(metric) not in known)
        require(not unknown, f"{name}: no program has {', '.join(unknown)}")
        if "alert" in rule:
            check_alert(rule, runbook)


def base(metric):
    return re.sub(r"_(sum|count|bucket)$", "", metric)


def check_alert(rule, runbook):
    name = rule["alert"]
    require(re.fullmatch(r"Cohort[A-Z]\w+", name), f"{name}: expected a name with the prefix Cohort")
    require(rule.get("labels", {}).get("severity") in SEVERITIES, f"{name}: expected a severity of {sorted(SEVERITIES)}")
    require(set(rule["annotations"]) == {"summary", "description", "runbook_url"}, f"{name}: expected three annotations")
    url = f"docs/runbook.md#{name.lower()}"
    require(rule["annotations"]["runbook_url"] == url, f"{name}: expected runbook_url {url}")
    section = re.search(rf"^## {name}$(.*?)(?=^## |\Z)", runbook, re.M | re.S)
    require(section, f"{name}: docs/runbook.md has no section of this name")
    for part in ("Meaning", "Look at", "Do"):
        require(f"**{part}.**" in section[1], f"{name}: its section of docs/runbook.md has no paragraph '{part}.'")


def check_runbook(rules, runbook):
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    gone = sorted(set(re.findall(r"^## (Cohort\w+)$", runbook, re.M)) - alerts)
    require(not gone, f"docs/runbook.md has sections of alerts that are no more: {', '.join(gone)}")


# ---- Tests for promtool. ----


def with_run(series):
    name, _, labels = series.partition("{")
    return f'{name}{{run="r"{"," + labels if labels else "}"}'


def input_series(series):
    return [{"series": with_run(name), "values": values} for name, values in series.items()]


def metric_names(series):
    return {name.partition("{")[0] for name in series}


def firing(rule, case):
    labels = {"severity": rule["labels"]["severity"], **case.get("labels", {"run": "r"})}
    annotations = {**rule["annotations"], "summary": case["summary"]}
    return [{"exp_labels": labels, "exp_annotations": annotations}]


def alert_tests(rule, cases):
    name = rule["alert"]
    require(cases.get("fires") and cases.get("silent"), f"{name}: expected a test that fires and one that stays silent")
    metrics = metric_names(cases["fires"]["series"])
    for case in [cases["fires"], *cases["silent"]]:
        require(metric_names(case["series"]) == metrics,
                f"{name}: '{case.get('why', 'fires')}' has other metrics than the test that fires, so it may be silent for want of them")
        expected = firing(rule, case) if case is cases["fires"] else []
        yield {"interval": case.get("interval", "1m"), "name": f"{name}: {case.get('why', 'fires')}",
               "input_series": input_series(case["series"]),
               "alert_rule_test": [{"eval_time": case["at"], "alertname": name, "exp_alerts": expected}]}


def recorded_tests(cases):
    for case in cases:
        expected = [{"expr": name, "eval_time": case["at"],
                     "exp_samples": [{"labels": f'{name}{{run="r"}}', "value": float(value)}]}
                    for name, value in case["values"].items()]
        yield {"interval": "1m", "name": case["why"], "input_series": input_series(case["series"]),
               "promql_expr_test": expected}


def healthy_tests(healthy):
    for run in healthy["runs"]:
        series = {**healthy["always"], **run["over"]}
        trains = {"expr": "count(cohort:demand_ratio)", "eval_time": "12m", "exp_samples": [{"labels": "{}", "value": 1}]}
        ever = {"expr": 'last_over_time(ALERTS{alertstate="firing"}[2h])', "eval_time": "60m", "exp_samples": []}
        yield {"interval": "1m", "name": run["name"], "input_series": input_series(series),
               "promql_expr_test": [ever] + ([trains] if run.get("trains") != "false" else [])}


def check_coverage(rules, alerts, recorded, healthy):
    names = {rule["alert"] for rule in rules if "alert" in rule}
    require(set(alerts) == names, f"tests and rules have not the same alerts: {sorted(set(alerts) ^ names)}")
    records = {rule["record"] for rule in rules if "record" in rule}
    tested = {name for case in recorded for name in case["values"]}
    require(tested == records, f"tests and rules have not the same recording rules: {sorted(tested ^ records)}")
    used = set().union(*(metrics_of(rule["expr"])[0] for rule in rules)) - records
    missing = sorted(used - metric_names(healthy["always"]))
    require(not missing, f"the healthy runs lack {', '.join(missing)}, so that no alert of theirs could fire")
    require(len(healthy["runs"]) >= 8, "expected at least eight healthy runs")


# ---- promtool. ----


def promtool(program, *words):
    try:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired as late:
        raise Failure(f"promtool {' '.join(words[:2])} did not end within 300 s") from late
    said = done.stdout + done.stderr
    require(done.returncode == 0 and not re.search(r"FAILED|WARNING|duplicate", said), f"promtool {' '.join(words[:2])}:\n{said}")
    return said


def needed(rule, rules):
    """The rule and the recording rules that it reads, in their order."""
    records = {other["record"]: other for other in rules if "record" in other}
    wanted, todo = [rule], [rule]
    while todo:
        for name in metrics_of(todo.pop()["expr"])[0] & set(records):
            if records[name] not in wanted:
                wanted.append(records[name])
                todo.append(records[name])
    return [other for other in rules if other in wanted]


def run_tests(program, rules, tests):
    """Rules are evaluated once per interval of a test's series: months of them would take hours by the minute."""
    require(tests, "no tests")
    for interval in sorted({test["interval"] for test in tests}):
        run_file(program, rules, interval, [test for test in tests if test["interval"] == interval])


def run_file(program, rules, interval, tests):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "tests.yaml"
        (pathlib.Path(folder) / "rules.yaml").write_text(json.dumps({"groups": [{"name": "tested", "rules": rules}]}))
        file.write_text(json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": interval, "tests": tests}))
        promtool(program, "test", "rules", str(file))


def main():
    program, rules_file, folder, runbook_file, metrics_file = sys.argv[1:]
    folder = pathlib.Path(folder)
    rules = rules_of(load(rules_file))
    runbook = pathlib.Path(runbook_file).read_text()
    known = set(re.findall(r"\b(?:cohort|process)_[a-z0-9_]+", pathlib.Path(metrics_file).read_text())) | {"up"}
    alerts, recorded, healthy = (load_tests(folder / f"{name}.yaml") for name in ("alerts", "recorded", "healthy"))
    by_name = {rule["alert"]: rule for rule in rules if "alert" in rule}
    found = re.search(r"(\d+) rules found", promtool(program, "check", "rules", rules_file))
    require(found and int(found[1]) == len(rules) > 0, f"promtool found {found and found[1]} rules, expected {len(rules)}")
    check_form(rules, runbook, known)
    check_runbook(rules, runbook)
    check_coverage(rules, alerts, recorded, healthy)
    of_alerts = {name: list(alert_tests(by_name[name], cases)) for name, cases in alerts.items()}
    of_records, of_runs = list(recorded_tests(recorded)), list(healthy_tests(healthy))
    run_tests(program, rules, of_records)
    run_tests(program, rules, of_runs)
    for name, tests in of_alerts.items():
        run_tests(program, needed(by_name[name], rules), tests)
    print(f"{len(by_name)} alerts, each with a test that fires and one that stays silent ({sum(map(len, of_alerts.values()))} tests); "
          f"{len(rules) - len(by_name)} recording rules ({len(of_records)} tests); {len(of_runs)} healthy runs without an alert")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"check_rules: {failure}")
