"""The queries of the dashboards in deploy/grafana, as Grafana would send them. Python's standard library is all."""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
VARIABLES = {"$__rate_interval": "15s", "$window": "1m", "$namespace": ".*", "$run": ".*", "$role": ".*"}


def filled(expression):
    """With every run chosen."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def of_dashboards():
    """(name, expression) of panels, annotations and variables."""
    for file in sorted((ROOT / "deploy/grafana").glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield f"{file.stem} / {panel['title']} / {target['refId']}", filled(target["expr"])
        for note in board["annotations"]["list"]:
            yield f"{file.stem} / annotation / {note['name']}", filled(note["expr"])
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
                yield f"{file.stem} / variable / {variable['name']}", f"group by ({found[2]}) ({filled(found[1])})"


def has_data(series):
    """Of a range query's result: at least one number."""
    return any(value not in ("NaN", "+Inf", "-Inf") for one in series for _, value in one["values"])
