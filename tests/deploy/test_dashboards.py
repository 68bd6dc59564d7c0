"""The dashboards and rules ask only for what is exposed, in expressions that Prometheus takes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.architecture.sources import ROOT
from tests.deploy.promql import catalogue, unknown_in

GRAFANA = ROOT / "deploy" / "grafana"
PROMETHEUS = ROOT / "deploy" / "prometheus"
NAMES = ("serving", "learning", "experiment")
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
OF_GRAFANA = {"$__rate_interval": "1m", "$experiment": "spring"}


@cache
def dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards" / f"{name}.json").read_text())
    return found


def panels(name: str) -> Iterator[dict[str, Any]]:
    """Walk the panels that show something."""
    return (panel for panel in dashboard(name)["panels"] if panel["type"] != "row")


def expressions(name: str) -> list[str]:
    """Return what a dashboard asks for, with Grafana's variables filled in."""
    found = [target["expr"] for panel in panels(name) for target in panel["targets"]]
    for variable, value in OF_GRAFANA.items():
        found = [expression.replace(variable, value) for expression in found]
    return found


@pytest.mark.requires_tool("promtool")
def test_prometheus_takes_every_expression_of_the_dashboards(tmp_path: Path) -> None:
    rules = [
        {"record": f"{name}:{number}", "expr": expression}
        for name in NAMES
        for number, expression in enumerate(expressions(name))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))

    command = ["promtool", "check", "rules", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.stderr == ""
    assert f"SUCCESS: {len(rules)} rules" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_uses_only_metrics_and_labels_of_the_catalogue(name: str) -> None:
    known = catalogue()
    recorded = {rule["record"] for rule in rules() if "record" in rule}

    assert [
        (expression, unknown)
        for expression in expressions(name)
        if expression not in recorded and "ALERTS{" not in expression
        for unknown in unknown_in(expression, known)
    ] == []


def test_rules_use_only_metrics_and_labels_of_the_catalogue() -> None:
    known = catalogue()

    assert [found for rule in rules() for found in unknown_in(rule["expr"], known)] == []


def test_every_metric_of_the_catalogue_is_on_a_dashboard() -> None:
    shown = " ".join(expression for name in NAMES for expression in expressions(name))

    assert [name for name in sorted(catalogue()) if _family(name) not in shown] == []


def _family(name: str) -> str:
    """Return a histogram's name: one of its three series is enough to show it."""
    for ending in ("_bucket", "_count", "_sum"):
        name = name.removesuffix(ending)
    return name


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_can_be_provisioned(name: str) -> None:
    ids = [panel["id"] for panel in dashboard(name)["panels"]]

    assert dashboard(name)["uid"] == f"promobandit-{name}"
    assert len(set(ids)) == len(ids)
    assert dashboard(name)["templating"]["list"][0]["name"] == "datasource"
    for panel in panels(name):
        assert panel["datasource"] == DATASOURCE
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


@pytest.mark.parametrize("name", NAMES)
def test_no_panel_of_a_dashboard_lies_on_another(name: str) -> None:
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in dashboard(name)["panels"])
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]

    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    sources = _provisioned("datasources")["datasources"]
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]

    assert [source["type"] for source in sources] == ["prometheus"]
    assert sources[0]["jsonData"]["timeInterval"] == scraped["scrape_interval"]
    assert [provider["type"] for provider in _provisioned("dashboards")["providers"]] == ["file"]


def _provisioned(what: str) -> dict[str, Any]:
    (file,) = (GRAFANA / "provisioning" / what).glob("*.yml")
    found: dict[str, Any] = yaml.safe_load(file.read_text())
    return found


@cache
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]
