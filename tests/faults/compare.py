"""Compare what was told with what is recorded, and what Redis says with what SQL and reports do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from service.domain.allocation import Allocation, EffectiveEvidence, Publication
from tests.faults.load import Load
from tests.faults.stack import Stack

TOLERANCE = 1e-9  # Sums of the same numbers, maybe in another order.


def told_otherwise(load: Load, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Tell how many answers stand in the ledger with another content than callers were told.

    One id may be told with two sources: as a fallback by who did not hear from Redis in time, and
    by policy to who asked again and found that Redis had it. The ledger has one of them.
    """
    recorded = {row["decision_id"]: row for row in rows}
    sources = {(decided.decision_id, decided.source) for decided in load.decided}
    wrong: Counter[str] = Counter()
    for decided in load.decided:
        row = recorded.get(decided.decision_id)
        if row is None:
            continue  # It is lost, and counted as that.
        pairs = {
            "variant": decided.variant,
            "propensity": decided.propensity,
            "allocation_version": decided.version,
        }
        wrong.update(name for name, told in pairs.items() if row[name] != told)
        wrong["source"] += (decided.decision_id, row["source"]) not in sources
    return [f"{count} decisions were told another {name}" for name, count in wrong.items() if count]


def published_otherwise(
    stack: Stack, number: int, record: str, report: dict[str, Any]
) -> list[str]:
    """Tell in what Redis' allocation differs from SQL's record, and its evidence from a report."""
    with stack.redis_client() as client:
        body = client.hget(f"pb:a:{{{number}}}", "body")
    if not isinstance(body, bytes):
        return ["Redis has no allocation"]
    published = msgspec.msgpack.decode(body, type=Publication)
    recorded = msgspec.json.decode(record, type=Allocation)
    return [
        *allocation_otherwise(published.allocation, recorded),
        *evidence_otherwise(published.evidence, report),
    ]


def allocation_otherwise(published: Allocation, recorded: Allocation) -> list[str]:
    """Tell which parts of two allocation records differ."""
    return [
        f"{name} in Redis: {mine} is not {theirs}"
        for name in Allocation.__struct_fields__
        if (mine := getattr(published, name)) != (theirs := getattr(recorded, name))
    ]


def evidence_otherwise(published: EffectiveEvidence, report: dict[str, Any]) -> list[str]:
    """Tell in what published evidence differs from a report, which reads SQL's."""
    found = []
    if published.revision != report["evidence_revision"]:
        found.append(
            f"evidence in Redis: revision {published.revision} is not {report['evidence_revision']}"
        )
    pairs = {
        "pulls": (published.pulls, "effective_pulls"),
        "successes": (published.successes, "effective_rewards"),
    }
    for name, (mine, column) in pairs.items():
        theirs = [variant[column] for variant in report["variants"]]
        if len(mine) != len(theirs) or not all(map(_is_close, mine, theirs)):
            found.append(f"{name} in Redis: {list(mine)} is not {theirs}")
    return found


def _is_close(mine: float, theirs: float) -> bool:
    return math.isclose(mine, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
