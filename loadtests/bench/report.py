"""Tell what was found: a plain table, JSON for machines, and the page in docs/."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from loadtests.bench.figures import Figure
from loadtests.bench.run import Run

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench-results" / "latest.json"
PAGE = ROOT / "docs" / "benchmarks.md"
HEADER = ("figure", "measured", "bound", "", "note")

INTRODUCTION = """\
# Benchmarks

Written by `make bench` (`python -m loadtests.bench --write-docs`); do not edit by hand. Run it on
your own machine: absolute rates are the machine's, so what we promise is ratios within one run.

- The server under test has a core to itself. The load generator (`wrk`, one thread, 32 keep-alive
  connections), Redis, the worker and PostgreSQL share another one.
- Every choice is of a new unit with an occasion, so each asks Redis and is appended to the outbox
  before it is answered, while the worker drains the outbox into the ledger. Rewards go to decisions
  that are in the ledger, each rewarded once.
- Trials are interleaved: service, floor, floor, floor, and again. A ratio is the median of the
  rounds' ratios. After a trial of the service the next one waits until the ledger has everything.
  An answer that is not 200 spoils the run, and afterwards acknowledged answers are counted in the
  ledger.
- The floors run under the service's own settings of uvicorn, with Python's own of the garbage
  collector. *Bare* is an ASGI callable that reads the body and answers a constant of the same
  length; *empty FastAPI* has a pydantic model in and one out; the *usual design* does HGETALL, a
  Thompson draw, HINCRBY and SET for each request.
- In the open loop requests leave at a constant rate whatever became of those before, and a latency
  counts from when its request was meant to leave.
- A scrape is one of `/metrics` with 1,000 experiments of three variants, in each of which two API
  processes have counted. What makes its text shares their core, as a worse case than most.
"""


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as columns of plain text."""
    rows = [HEADER, *(_cells(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(len(line) for line in lines), *lines[1:]])


def facts(title: str, pairs: Mapping[str, str]) -> str:
    """Return one paragraph of names and values."""
    text = ", ".join(f"{name} {value}" for name, value in pairs.items())
    return textwrap.fill(f"{title}: {text}", width=100, subsequent_indent="  ")


def save(
    run: Run,
    figures: Sequence[Figure],
    about: Mapping[str, Mapping[str, str]],
    path: Path = RESULTS,
) -> None:
    """Write everything as JSON, every single trial included."""
    result = {
        **about,
        "quick": run.is_quick,
        "figures": [{**asdict(figure), "is_met": figure.is_met} for figure in figures],
        "trials": {name: [asdict(t) for t in trials] for name, trials in run.trials.items()},
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def page(figures: Sequence[Figure], about: Mapping[str, Mapping[str, str]]) -> str:
    """Return the page of the docs."""
    rows = [HEADER, ("---",) * len(HEADER), *(_cells(figure) for figure in figures)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    paragraphs = [facts(title, pairs) for title, pairs in about.items()]
    return "\n\n".join([INTRODUCTION.rstrip(), "\n".join(lines), *paragraphs]) + "\n"


def _cells(figure: Figure) -> tuple[str, str, str, str, str]:
    verdict = "" if not figure.sign else "pass" if figure.is_met else "MISS"
    bound = f"{figure.sign} {_told(f'{figure.bound:,g}', figure.unit)}" if figure.sign else ""
    digits = 0 if figure.unit in ("", "/s") else 2
    return (
        figure.name,
        _told(f"{figure.value:,.{digits}f}", figure.unit),
        bound,
        verdict,
        figure.note,
    )


def _told(number: str, unit: str) -> str:
    return f"{number} {unit}".rstrip()
