"""Find how far it goes: more and more from the open-loop sender, until a promise breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from loadtests.load.options import Options
from loadtests.load.tables import Row, Told

FACTORS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # Of the sender's rates; the users stay as they are.
SECONDS = 20.0
HEADER = ("sender", "requests/s", "decisions/s", "POST /choose p99", "API cores busy", "verdict")


@dataclass(frozen=True, slots=True)
class Step:
    """What came of a multiple of the sender's rates."""

    factor: float
    told: Told


def steps(options: Options, run: Callable[[Options], Told]) -> Iterator[Step]:
    """Yield one step after the other, each with a fresh service, up to the first that breaks."""
    for factor in FACTORS:
        shape = replace(options.shape, sender_factor=options.shape.sender_factor * factor)
        told = run(replace(options, shape=shape, seconds=SECONDS))
        yield Step(factor, told)
        if told.broken:
            return


def rows(found: Sequence[Step]) -> list[Row]:
    """Return the table of the steps."""
    return [HEADER, *(_row(step) for step in found)]


def _row(step: Step) -> Row:
    findings, told = step.told.findings, step.told
    rate = sum(route.rate for route in findings.routes)
    rate += sum(row.requests for row in told.users) / told.seconds
    p99 = next(r.p99_ms for r in findings.routes if r.objective.name == "POST /choose")
    busy = sum(use.cores for use in told.uses if use.role == "api")
    return (
        f"x {step.factor:g}",
        f"{rate:,.0f}",
        f"{findings.decisions / told.seconds:,.0f}",
        f"{p99:.1f} ms",
        f"{busy:.2f}",
        "pass" if not told.broken else "; ".join(told.broken),
    )
