"""docs/sla.md promises what `service.sla` does, to the number."""

from __future__ import annotations

import re

from service.metrics import EDGES_US
from service.sla import BURN_RATES, OBJECTIVES
from tests.architecture.sources import ROOT

PAGE = (ROOT / "docs" / "sla.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading row."""
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table]


def test_the_page_lists_every_objective() -> None:
    promised = [
        [
            each.name,
            f"{each.good_share * 100:g} %",
            f"{each.threshold_ms:,} ms",
            f"{each.p99_ms:g} ms" if each.p99_ms else "",
        ]
        for each in OBJECTIVES
    ]
    listed = [[row[0].split("`")[1], *row[1:]] for row in rows("route")]

    assert listed == promised
    assert f"`GET {OBJECTIVES[-1].template}`" in PAGE


def test_the_page_lists_every_burn_rate() -> None:
    assert rows("burn rate") == [
        [f"{b.rate:g}", b.long.name, b.short.name, f"{b.bad_min} bad", b.severity]
        for b in BURN_RATES
    ]


def test_the_page_says_what_few_requests_are_and_how_fine_times_are() -> None:
    few = {f"{each.requests_min:,} at {each.good_share * 100:g} %" for each in OBJECTIVES}
    said = set(re.findall(r"[\d,]+ at [\d.]+ %", PAGE))

    assert said == few
    assert f"{len(EDGES_US) + 1} classes" in PAGE
