#!/usr/bin/env python3
"""Checks Grafana dashboards: what their schema does not know.

    tools/check_dashboards.py FOLDER RULES METRICS

METRICS is docs/metrics.md. Every metric of it must be on a panel or in a rule, and every metric that a panel names in
it, among the recording rules or of another exporter.
"""

import json
import pathlib
import re
import sys

import check_rules

OTHERS = ("DCGM_", "kube_", "container_", "up", "scrape_duration_seconds", "ALERTS")
NAME = re.compile(r"\b(?:cohort|process)(?::|_)[a-z0-9_:]+\b")
DATASOURCE = "${datasource}"


def panel_problems(panel):
    for key in ("title", "description", "gridPos"):
        if not panel.get(key):
            yield f"has no {key}"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "has no unit"
    if not panel.get("targets"):
        yield "has no query"
    if panel["datasource"].get("uid") != DATASOURCE:
        yield f"expected the data source {DATASOURCE}"
    for target in panel.get("targets", []):
        if "$run" not in target["expr"] and not any(word in target["expr"] for word in OTHERS):
            yield f"query {target['refId']} does not ask for $run"
        for counter in re.findall(r"(?<![(\w])(cohort_\w+_total)\{[^}]*\}(?!\[)", target["expr"]):
            if f"({counter}" not in target["expr"]:
                yield f"query {target['refId']} shows the counter {counter} itself"
        if re.search(r"(?:rate|increase)\([a-z_:]+\{[^}]*\}\[(?!\$__rate_interval|\$window|1h)", target["expr"]):
            yield f"query {target['refId']}: expected a window of $window, $__rate_interval or 1h"


def empty_choices(node, path=""):
    """Options that are one of some words, and none of them: Grafana would take its own, or none."""
    if isinstance(node, dict):
        for key, value in node.items():
            if value == "" and key in {"mode", "sort", "orientation", "placement", "displayMode", "type", "unit"}:
                yield f"{path}{key} is empty"
            yield from empty_choices(value, f"{path}{key}.")
    elif isinstance(node, list):
        for value in node:
            yield from empty_choices(value, path)


def overlap(panels):
    """Two panels in one place, or one beyond the right edge."""
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            yield f"{panel['title']} is wider than the page"
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"]:
                    yield f"{panel['title']} lies over {other}"


def board_problems(board):
    ids = [panel["id"] for panel in board["panels"]]
    if len(ids) != len(set(ids)):
        yield "two panels have one id"
    if not re.fullmatch(r"cohort-\w+", board.get("uid", "")) or not board.get("schemaVersion"):
        yield "expected a uid cohort-NAME and a schemaVersion"
    if board.get("editable") is not False:
        yield "expected a dashboard that cannot be edited in place"
    names = [variable["name"] for variable in board["templating"]["list"]]
    if names != ["datasource", "namespace", "run", "role", "window"]:
        yield f"variables: {names}"
    if {note["name"] for note in board["annotations"]["list"]} != {"Checkpoint", "Evaluation"}:
        yield "expected annotations for checkpoints and evaluations"
    if not board.get("links"):
        yield "has no links to the other dashboards"
    yield from sorted(set(empty_choices(board)) | set(overlap(board["panels"])))
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield from (f"{panel.get('title')}: {text}" for text in panel_problems(panel))


def main():
    folder, rules_file, metrics_file = sys.argv[1:]
    rules = check_rules.rules_of(check_rules.load(rules_file))
    recorded = {rule["record"] for rule in rules if "record" in rule}
    known = set(re.findall(r"^\| `((?:cohort|process)_[a-z0-9_]+)`", pathlib.Path(metrics_file).read_text(), re.M))
    used = {name for rule in rules for name in check_rules.metrics_of(rule["expr"])[0]} - {"up"}
    problems, panels, queries = [], 0, 0
    files = sorted(pathlib.Path(folder).glob("*.json"))
    for file in files:
        board = json.loads(file.read_text())
        problems += [f"{file.name}: {text}" for text in board_problems(board)]
        panels += sum(panel["type"] != "row" for panel in board["panels"])
        asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
        queries += len(asked)
        for expression in asked + [note["expr"] for note in board["annotations"]["list"]]:
            used.update(NAME.findall(expression))
    used = {check_rules.base(name) if check_rules.base(name) in known else name for name in used}
    problems += [f"no program and no rule has {name}" for name in sorted(used - known - recorded)]
    problems += [f"{name} is on no panel and in no rule" for name in sorted(known - used)]
    if len(files) != 4 or not known:
        problems.append(f"{len(files)} dashboards and {len(known)} metrics, expected four and some")
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(files)} dashboards, {panels} panels, {queries} queries; all {len(known)} metrics are on a panel or in a rule")


if __name__ == "__main__":
    main()
