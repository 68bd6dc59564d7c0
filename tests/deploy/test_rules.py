"""The alert rules: valid, tested, explained, and about metrics and numbers that there are."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from service.sla import BURN_RATES, LEDGER_LAG_SECONDS_MAX, BurnRate
from tests.architecture.sources import ROOT
from tests.deploy.promql import metrics_in

DIRECTORY = ROOT / "deploy" / "prometheus"
RUNBOOK = "docs/runbook.md"
WAKING = {
    "PromobanditAuditDifference",
    "PromobanditDown",
    "PromobanditOutboxOld",
    "PromobanditServingBurns",
    "PromobanditServingBurnsFast",
}


@cache
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DIRECTORY / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


@cache
def cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((DIRECTORY / "rules_test.yml").read_text())[
        "tests"
    ]
    return found


def promtool(*arguments: str) -> str:
    """Run promtool; return what it complains of, empty if nothing."""
    command = ["promtool", *arguments]
    done = subprocess.run(command, cwd=DIRECTORY, check=False, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def firing(case: dict[str, Any]) -> set[str]:
    told = [sample["labels"] for test in case["promql_expr_test"] for sample in test["exp_samples"]]
    return {name for labels in told for name in re.findall(r'alertname="(\w+)"', labels)}


@pytest.mark.requires_tool("promtool")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "--lint-fatal", "rules.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_finds_nothing_wrong(arguments: tuple[str, ...]) -> None:
    assert promtool(*arguments) == ""


def test_every_alert_fires_in_a_case_and_is_silent_in_the_healthy_one() -> None:
    healthy, *broken = cases()
    series = {name for each in healthy["input_series"] for name in metrics_in(each["series"])}

    assert firing(healthy) == set()
    assert set[str]().union(*map(firing, broken)) == set(alerts())
    # Silence of what has no data says nothing.
    assert [
        name for name, rule in alerts().items() if not metrics_in(resolved(rule["expr"])) <= series
    ] == []


def resolved(expression: str) -> str:
    """Put recorded expressions in the place of their names."""
    for rule in rules():
        if "record" in rule:
            expression = expression.replace(rule["record"], rule["expr"])
    return expression


def test_every_alert_tells_how_bad_it_is_and_leads_to_its_section_of_the_runbook() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / RUNBOOK).read_text(), re.MULTILINE)

    assert sections == list(alerts())
    for name, rule in alerts().items():
        assert rule["labels"] == {"severity": "page" if name in WAKING else "ticket"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"{RUNBOOK}#{name.lower()}"


@pytest.mark.parametrize(
    ("name", "promise"),
    [
        ("PromobanditServingBurnsFast", BURN_RATES[0]),
        ("PromobanditServingBurns", BURN_RATES[1]),
        ("PromobanditServingBurnsSlowly", BURN_RATES[2]),
    ],
)
def test_burn_rates_are_those_of_the_service_levels(name: str, promise: BurnRate) -> None:
    rate, long, short, severity, bad_min = promise
    numbers = re.findall(r":(\w+) > ([\d.]+)|\[(\w+)\]\)\) >= (\d+)", alerts()[name]["expr"])

    assert numbers == [
        (long.name, f"{rate:g}", "", ""),
        (short.name, f"{rate:g}", "", ""),
        ("", "", long.name, str(bad_min)),
    ]
    assert alerts()[name]["labels"]["severity"] == severity


def test_the_outbox_may_be_as_old_as_is_promised() -> None:
    expression = alerts()["PromobanditOutboxOld"]["expr"]

    assert f"promobandit_outbox_age_seconds) > {LEDGER_LAG_SECONDS_MAX:.0f} " in expression
