"""Tell what the incidents showed: a line each on the terminal, and the page in docs/."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from typing import Any

import yaml

from loadtests.bench.machine import machine
from tests.architecture.sources import ROOT
from tests.incidents.healthy import Healthy
from tests.incidents.incident import Outcome
from tests.incidents.prometheus import DEPLOYED, version

PAGE = ROOT / "docs" / "alerts.md"
HEADER = ("alert", "severity", "incident", "fires after", "fires besides", "healthy")
INTRODUCTION = """\
# Alerts

Written by `python -m tests.incidents --write-docs`; do not edit by hand.

Every incident breaks a whole service of its own: API process, worker, a real Redis and a real PostgreSQL behind fault proxies, with callers
that choose, send, reward and read reports all the time. A real Prometheus scrapes it with the configuration and the rules of
[deploy/prometheus](../deploy/prometheus), unchanged but for addresses, in real time. The time is from the break until the alert fires; what else may fire is
written down for each incident, and anything beyond fails it. The healthy service has two API processes and two workers, of which one stands by. What to do about each is in the [runbook](runbook.md).
"""  # noqa: E501  A paragraph is one line.


def line(outcome: Outcome) -> str:
    """Return a row for the terminal, and under it what was not as it should be."""
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in outcome.seconds.items())
    besides = f" (besides: {', '.join(sorted(outcome.others))})" if outcome.others else ""
    first = f"{outcome.incident.name}: {times or 'nothing'}{besides}"
    return "\n      ".join([first, *outcome.broken()])


def healthy_line(healthy: Healthy) -> str:
    """Return the row of the healthy service."""
    first = f"Healthy for {healthy.seconds / 60:.1f} minutes, {healthy.answers} requests answered"
    return "\n      ".join([first, *healthy.broken()])


def write(outcomes: Sequence[Outcome], healthy: Healthy, seconds: float) -> None:
    """Write the page, in the order of the rules."""
    rows = [HEADER, ("---",) * len(HEADER)]
    rows += [_cells(rule, _of(rule["alert"], outcomes), healthy) for rule in _alerts()]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    # Where others are at work too, a run with priority shows the service and not its neighbours.
    facts = {**machine(), "niceness": str(os.nice(0)), "Python": platform.python_version()}
    facts["Prometheus"] = version()
    today, minutes = time.strftime("%Y-%m-%d", time.gmtime()), healthy.seconds / 60
    about = [
        f"{len(outcomes)} incidents in {seconds / 60:.1f} minutes on {today};",
        f"the healthy service answered {healthy.answers:,} requests in {minutes:.1f} minutes.",
        ", ".join(f"{name} {value}" for name, value in facts.items()) + ".",
    ]
    PAGE.write_text(f"{INTRODUCTION}\n" + "\n".join([" ".join(about), "", *lines]) + "\n")


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOYED / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def _of(alert: str, outcomes: Sequence[Outcome]) -> Outcome:
    """Return the incident that shows an alert soonest."""
    shown = [outcome for outcome in outcomes if alert in outcome.incident.alerts]
    return min(shown, key=lambda outcome: outcome.seconds.get(alert, float("inf")))


def _cells(rule: dict[str, Any], outcome: Outcome, healthy: Healthy) -> tuple[str, ...]:
    alert = rule["alert"]
    seconds = outcome.seconds.get(alert)
    broken = "; ".join(outcome.broken())
    return (
        f"[{alert}](runbook.md#{alert.lower()})",
        rule["labels"]["severity"],
        outcome.incident.name + (f" **{broken}**" if broken else ""),
        "**never**" if seconds is None else f"{seconds:.0f} s",
        ", ".join(sorted(name.removeprefix("Promobandit") for name in outcome.others)) or "nothing",
        "**fired**" if alert in {each.name for each in healthy.fired} else "silent",
    )
