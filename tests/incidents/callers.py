"""What callers do in an incident, beside the usual load."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.incidents.incident import EXPERIMENT, Scene

SEND_UNITS = 300  # A call of so many takes a quarter of the places: three are let in at once.
SENDS_AT_ONCE = 8
_serial = itertools.count()


def send(scene: Scene, calls: int, units: int) -> None:
    """Ask for so many sends at the same time, each of so many new units."""
    asyncio.run(_send(f"{scene.stack.url}/choose/batch", calls, units))


async def _send(url: str, calls: int, units: int) -> None:
    limits = httpx.Limits(max_connections=calls)
    async with httpx.AsyncClient(timeout=10, limits=limits) as client:
        await asyncio.gather(*(client.post(url, json=_body(units)) for _ in range(calls)))


def choose(scene: Scene, units: int) -> list[dict[str, Any]]:
    """Choose for some new units; return the decisions."""
    answer = scene.post("/choose/batch", _body(units))
    answer.raise_for_status()
    decisions: list[dict[str, Any]] = answer.json()["decisions"]
    return decisions


def reward(scene: Scene, decisions: list[dict[str, Any]], **fields: str) -> None:
    """Report a conversion of each decision."""
    rewards = [{"decision_id": each["decision_id"], **fields} for each in decisions]
    scene.post("/reward/batch", {"rewards": rewards}).raise_for_status()


def hours_ago(hours: float) -> str:
    """Return a time as an `occurred_at` spells it."""
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


def bad_share(scene: Scene, route: str) -> tuple[float, float]:
    """Return how many answers of a route were bad, and how many there were."""
    counts = {"good": 0.0, "bad": 0.0}
    for line in httpx.get(f"{scene.stack.url}/metrics", timeout=10).text.splitlines():
        for verdict in counts:
            if line.startswith(
                f'promobandit_sla_requests_total{{route="{route}",verdict="{verdict}"}}'
            ):
                counts[verdict] = float(line.rpartition(" ")[2])
    return counts["bad"], sum(counts.values())


def _body(units: int) -> dict[str, Any]:
    named = [f"i{next(_serial)}" for _ in range(units)]
    return {"experiment": EXPERIMENT, "occasion": "incident", "units": named}
