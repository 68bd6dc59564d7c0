"""What expressions ask for: metrics and labels, to be held against the catalogue of metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.architecture.sources import ROOT

# Prometheus gives these to every series it scrapes.
OF_THE_TARGET = frozenset({"instance", "job"})
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \|(?P<labels>[^|]*)\|", re.MULTILINE)
USE = re.compile(r"(?<![\w:])(?P<name>promobandit_\w+)(?P<selector>\{[^}]*\})?")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
STRING = re.compile(r'"[^"]*"')


def catalogue() -> dict[str, frozenset[str]]:
    """Return the labels of every series there is, by its name, as docs/metrics.md tells them."""
    series: dict[str, frozenset[str]] = {}
    for row in ROW.finditer((ROOT / "docs" / "metrics.md").read_text()):
        labels = frozenset(re.findall(r"`(\w+)`", row["labels"]))
        if row["type"] == "histogram":
            series[f"{row['name']}_bucket"] = labels | {"le"}
            series[f"{row['name']}_count"] = series[f"{row['name']}_sum"] = labels
        else:
            series[row["name"]] = labels
    return series


def metrics_in(expression: str) -> set[str]:
    """Return the names of our metrics that an expression uses; recorded ones have colons."""
    return {use["name"] for use in USE.finditer(expression)}


def unknown_in(expression: str, known: dict[str, frozenset[str]]) -> Iterator[str]:
    """Tell each metric, and each label, that the catalogue does not have."""
    given = set(OF_THE_TARGET)
    for use in USE.finditer(expression):
        labels = known.get(use["name"])
        if labels is None:
            yield use["name"]
            continue
        given |= labels
        asked = set(SELECTED.findall(STRING.sub("", use["selector"] or "")))
        yield from (f"{use['name']}{{{label}}}" for label in asked - labels - OF_THE_TARGET)
    is_recorded = re.search(r"\w:promobandit_", expression) is not None
    grouped = {
        label.strip() for found in GROUPING.findall(expression) for label in found.split(",")
    }
    missing = grouped - given - {""} - ({"route"} if is_recorded else set())
    yield from (f"grouped by {label}" for label in missing)
