"""The measured part of docs/growing.md, between two marks; what is around it is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.bench.report import facts

if TYPE_CHECKING:
    from loadtests.sizing.rows import Layout

PAGE = Path(__file__).parents[2] / "docs" / "growing.md"
BEGIN, END = "<!-- measured -->\n", "<!-- end of measured -->\n"


def write_docs(
    layouts: Sequence[Layout],
    millions: int,
    about: Mapping[str, Mapping[str, str]],
    *,
    is_written: bool,
) -> str:
    """Return the measured part, and put it into the page if told to."""
    text = "\n".join([_inserts(layouts), _sizes(layouts, millions), _costs(layouts)])
    text += "\n" + "\n\n".join(facts(title, pairs) for title, pairs in about.items()) + "\n"
    if is_written:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + text + END + rest.partition(END)[2])
    return text


def _inserts(layouts: Sequence[Layout]) -> str:
    whole, hashed = layouts
    count = len(whole.inserts)
    shown = sorted({1, 2, 5, 10, 20, 50, count} & set(range(1, count + 1)))
    heads = ["to insert a million", *(f"into {n - 1} M" for n in shown), "then, hashed"]
    costs = [*(whole.inserts[n - 1] for n in shown), hashed.inserts[-1]]
    return "\n".join(
        [
            "| " + " | ".join(heads) + " |",
            "| --- |" + " ---: |" * len(costs),
            "| processor, s | " + " | ".join(f"{cost.seconds:,.1f}" for cost in costs) + " |",
            "| log, MB | " + " | ".join(f"{cost.log / 1e6:,.0f}" for cost in costs) + " |",
            "",
        ]
    )


def _sizes(layouts: Sequence[Layout], millions: int) -> str:
    whole, hashed = layouts
    lines = [
        f"| MB a million rows | {whole.name} | {hashed.name} |",
        "| --- | ---: | ---: |",
    ]
    for name, size in whole.sizes.items():
        other = hashed.sizes.get(name, 0) / (millions + 1) / 1e6
        lines.append(f"| {_told(name)} | {size / millions / 1e6:,.0f} | {other:,.0f} |")
    total = sum(whole.sizes.values()) / millions / 1e6
    other = sum(hashed.sizes.values()) / (millions + 1) / 1e6
    return "\n".join([*lines, f"| all of it | {total:,.0f} | {other:,.0f} |", ""])


def _told(name: str) -> str:
    return "the rows" if name == "rows" else f"index `{name.removeprefix('btree ')}`"


def _costs(layouts: Sequence[Layout]) -> str:
    whole, hashed = layouts
    lines = [
        f"| | processor, s: {whole.name} | {hashed.name} | log, MB: {whole.name} | {hashed.name} |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, cost in hashed.costs.items():
        other = whole.costs.get(name)
        seconds = ["" if other is None else f"{other.seconds:,.2f}", f"{cost.seconds:,.2f}"]
        logs = ["" if other is None else f"{other.log / 1e6:,.1f}", f"{cost.log / 1e6:,.1f}"]
        lines.append("| " + " | ".join([name, *seconds, *logs]) + " |")
    return "\n".join([*lines, ""])
