"""The dashboard and the alerts among the examples ask for metrics that there are, in expressions that can be read."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from edx_event_bus_redis.internal.accounts import Accounts
from edx_event_bus_redis.internal.counts import BOUNDS, Totals
from edx_event_bus_redis.internal.exposition import Facts, PoolMetrics

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
DASHBOARD = json.loads((EXAMPLES / "grafana" / "event-bus.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((EXAMPLES / "prometheus" / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
SCALER = yaml.safe_load((EXAMPLES / "keda" / "prometheus.yaml").read_text())

# What Prometheus adds to the metrics of a target.
LABELS_OF_TARGETS = {"job", "instance"}


def metrics() -> dict[str, set[str]]:
    """The labels of each metric that a pool may tell, by its name."""
    totals = Totals({"type": 1}, {"type": 1}, 1, [0] * (len(BOUNDS) + 1), 0.0)
    accounts = Accounts(1, 1, 1.0, 1.0, dead_letters=1, lost={"trimmed": 1})
    about = {"topic": "t", "group": "g", "pool": "p", "version": "v"}
    text = PoolMetrics(about, lambda: Facts(["idle"], [0], {"SIGKILL": 1}, totals, accounts)).text().decode()
    return {
        sample.name: set(sample.labels) for family in text_string_to_metric_families(text) for sample in family.samples
    }


METRICS = metrics()
RECORDED = {rule["record"]: set(rule["record"].partition(":")[0].split("_")) for rule in RULES if "record" in rule}


def expressions() -> Iterator[Any]:
    for panel in PANELS:
        for target in panel.get("targets", []):
            name = f"panel {panel['title']}, {target['refId']}"
            yield pytest.param(re.sub(r"\$__(rate_interval|range)", "5m", target["expr"]), id=name)
    for rule in RULES:
        yield pytest.param(rule["expr"], id=rule.get("alert", rule.get("record")))
    for trigger in SCALER["spec"]["triggers"]:
        yield pytest.param(trigger["metadata"]["query"], id="scaler")


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """Return what an expression selects. Raises ValueError if it is no PromQL."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_metrics_that_there_are(expression: str) -> None:
    """An expression is PromQL, and each metric and label in it is one that a pool, a rule or Prometheus gives."""
    selected = selectors(expression)

    assert selected
    known = METRICS | RECORDED
    assert {each.name for each in selected} <= known.keys()
    for each in selected:
        assert {matcher.name for matcher in each.matchers.matchers} <= known[each.name] | LABELS_OF_TARGETS
    labels = set().union(*(known[each.name] for each in selected)) | LABELS_OF_TARGETS
    used = re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", expression)
    assert {label.strip() for group in used for label in group.split(",") if label.strip()} <= labels


def test_each_metric_is_shown() -> None:
    """The dashboard leaves no metric out."""
    shown = {each.name for parameter in EXPRESSIONS for each in selectors(parameter.values[0])}
    families = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in METRICS}

    assert {name for name in families if not any(each.startswith(name) for each in shown)} == set()


def test_an_alert_says_what_its_labels_tell() -> None:
    """An alert has a severity and a summary, and names no label that its expression does not keep."""
    alerts = [rule for rule in RULES if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        text = " ".join([rule["annotations"]["summary"], rule["annotations"]["description"]])
        named = set(re.findall(r"\$labels\.(\w+)", text))
        assert named <= set().union(*((METRICS | RECORDED)[each.name] for each in selectors(rule["expr"]))), rule


def test_each_alert_is_explained() -> None:
    """The how-to says of each alert what to do, and of no other."""
    page = (EXAMPLES.parent / "how-to" / "monitor-and-alert.rst").read_text()

    assert set(re.findall(r"``(EventBus\w+)``", page)) == {rule["alert"] for rule in RULES if "alert" in rule}


def test_the_dashboard_is_in_order() -> None:
    """Panels have ids of their own and do not overlap, and each variable that is used is declared."""
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD)))
    assert used == declared


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool of Prometheus is not installed")
@pytest.mark.parametrize("command", [["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]])
def test_prometheus_takes_the_rules(command: list[str]) -> None:
    """Prometheus's own tool takes the rules, and they fire when they should in the tests beside them."""
    done = subprocess.run(
        ["promtool", *command], cwd=EXAMPLES / "prometheus", capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
