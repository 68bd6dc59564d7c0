"""Tell what a load test found, as text and in tables."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtests.load.shapes import Shape
from loadtests.load.swarm import UserRow
from loadtests.load.verdict import Findings, Growth, RouteFigures
from loadtests.load.watch import Sample, Use

SLA_HEADER = (
    *("route", "/s", "requests", "p50", "p95", "p99", "server p99"),
    *("good", "promised", "fallback"),
)
USER_HEADER = ("route", "requests", "failures", "p50", "p95", "p99")
USE_HEADER = ("processes", "count", "cores busy", "memory of its own", "with what is shared")
GROWTH_HEADER = ("processes", "memory after warm-up", "at the end", "growth", "descriptors")

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Told:
    """A run and what came of it."""

    shape: Shape
    seconds: float
    setup: str
    findings: Findings
    users: Sequence[UserRow]
    levels: Mapping[str, Mapping[str, float | str | None]]
    broken: Sequence[str]
    uses: Sequence[Use] = ()  # Of the service's processes, where they can be seen.
    data_growth: Growth | None = None  # Of Redis: it holds the data, and is not judged.
    samples: Sequence[Sample] = ()


def text(told: Told) -> str:
    """Return everything for a terminal."""
    parts = [headline(told), columns(sla_rows(told)), summary(told)]
    parts += [columns(user_rows(told.users))]
    if told.uses:
        parts.append(columns(use_rows(told.uses)))
    if told.findings.growth:
        parts += [columns(growth_rows(told.findings.growth)), data_text(told)]
    return "\n\n".join([*parts, verdict(told)])


def verdict(told: Told) -> str:
    """Return PASS, or FAIL with the reasons."""
    if not told.broken:
        return "PASS"
    return "\n".join(["FAIL", *(f"- {reason}" for reason in told.broken)])


def headline(told: Told) -> str:
    """Return what was run."""
    return f"{told.shape.name}: {told.shape.text}; {told.seconds:g} s against {told.setup}"


def summary(told: Told) -> str:
    """Return what is not of one route."""
    found = told.findings
    ledger = "not" if found.ledger_seconds is None else f"{found.ledger_seconds:.1f} s"
    audit = "no audit ran" if found.audit_difference is None else f"{found.audit_difference:g}"
    return textwrap.fill(
        f"decisions {found.decisions:,.0f} ({found.decisions / told.seconds:,.0f}/s); "
        f"fallback share {found.fallback_share:.3%}; audit difference {audit}; all in the ledger "
        f"{ledger} after the last answer; sender late {found.sender_late_p99_ms:.2f} ms (p99)",
        width=100,
    )


def sla_rows(told: Told) -> list[Row]:
    """Return the table of the promises."""
    rows = [
        _sla_row(route, told.levels.get(route.objective.name, {})) for route in told.findings.routes
    ]
    return [SLA_HEADER, *rows]


def _sla_row(route: RouteFigures, level: Mapping[str, float | str | None]) -> Row:
    objective, server = route.objective, level.get("p99_ms")
    promised = f"{objective.good_share:.1%} in {objective.threshold_ms:,} ms"
    if objective.p99_ms is not None:
        promised += f", p99 {objective.p99_ms:g} ms"
    share = route.fallback_share
    return (
        objective.name,
        f"{route.rate:,.1f}",
        f"{route.requests:,}",
        *(f"{value:.1f} ms" for value in (route.p50_ms, route.p95_ms, route.p99_ms)),
        f"{server:.1f} ms" if isinstance(server, int | float) else "",
        f"{route.good_share:.3%}",
        promised,
        "" if share is None else f"{share:.3%}",
    )


def user_rows(users: Sequence[UserRow]) -> list[Row]:
    """Return the table of what the users saw."""
    return [USER_HEADER, *(_user_row(row) for row in users)]


def _user_row(row: UserRow) -> Row:
    return (
        row.name,
        f"{row.requests:,}",
        f"{row.failures:,}",
        *(f"{value:.0f} ms" for value in (row.p50_ms, row.p95_ms, row.p99_ms)),
    )


def data_text(told: Told) -> str:
    """Return what the memory of Redis, which grows with every decision, grew by."""
    data = told.data_growth
    if data is None or not told.findings.decisions:
        return "Redis was not among the processes."
    grown = data.memory_after - data.memory_before
    return (
        f"Redis holds the data, and is not judged: {data.memory_before / 1e6:.1f} MB after warm-up,"
        f" {data.memory_after / 1e6:.1f} MB at the end ({grown / 1e6:+.1f} MB)."
    )


def use_rows(uses: Sequence[Use]) -> list[Row]:
    """Return the table of what the processes took."""
    return [USE_HEADER, *(_use_row(use) for use in uses)]


def _use_row(use: Use) -> Row:
    return (
        use.role,
        str(use.processes),
        f"{use.cores:.2f}",
        f"{use.unique / 1e6:.0f} MB",
        f"{use.resident / 1e6:.0f} MB",
    )


def growth_rows(growth: Sequence[Growth]) -> list[Row]:
    """Return the table of what the processes held."""
    return [GROWTH_HEADER, *(_growth_row(role) for role in growth)]


def _growth_row(role: Growth) -> Row:
    return (
        role.role,
        f"{role.memory_before / 1e6:.1f} MB",
        f"{role.memory_after / 1e6:.1f} MB",
        f"{role.memory_share:+.2%}",
        f"{role.descriptors_before:g} -> {role.descriptors_after:g}",
    )


def columns(rows: Sequence[Row]) -> str:
    """Return rows as columns of plain text."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(len(line) for line in lines), *lines[1:]])


def table(rows: Sequence[Row]) -> str:
    """Return rows as a table of Markdown."""
    lines = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
