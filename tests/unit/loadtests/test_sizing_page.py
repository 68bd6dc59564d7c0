"""docs/sizing.md says what was measured, and reckons with it."""

from __future__ import annotations

from loadtests.sizing.costs import Cost
from loadtests.sizing.page import Found, page
from loadtests.sizing.stores import Growth

TIMES = {"API": 100.0, "worker": 20.0, "Redis": 5.0, "SQL server": 10.0}
COSTS = [Cost(name, 1_000, TIMES) for name in ("single", "send", "reward", "rewards")]
GROWTHS = [
    Growth("decisions", "PostgreSQL", "decisions", 1_000, 150_000),
    Growth("decisions", "PostgreSQL", "pk_decisions", 1_000, 50_000),
    Growth("rewards", "PostgreSQL", "rewards", 1_000, 120_000),
    Growth("decisions", "Redis", "Redis", 1_000, 33_000),
    Growth("decisions", "outbox", "outbox", 1_000, 100_000),
]


def test_the_page_reckons_with_what_was_measured() -> None:
    text = page(Found({"PostgreSQL": COSTS}, GROWTHS, {"API": 180.0}, {"machine": {"cores": "2"}}))

    words = " ".join(text.split())
    assert "| single | 10,000 | 100.0 | 20.0 | 5.0 | 10.0 |" in text
    assert "| PostgreSQL | decisions | **all of it** | 200 |" in text
    assert "the sends take the API 500 s and SQL 50 s of a core" in words
    assert "Indexes are about 25 % of it" in words
    assert "20,000 of them a second need 4 processes" in words
    assert "{" not in text
