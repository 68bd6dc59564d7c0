"""What callers do in an incident, beside the usual load."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec

from tests.faults.caller import Caller
from tests.incidents.incident import EXPERIMENT, Scene

# A call of 128 KiB takes a quarter of the places, the most there is: three are let in at once.
SEND_UNITS, SEND_BYTES = 50, 128 << 10
SENDS_AT_ONCE = 8
CALL_SECONDS_MAX = 10.0
_serial = itertools.count()


def send(scene: Scene, calls: int, units: int, length: int = 0) -> None:
    """Ask for so many sends at the same time, each of so many new units and at least a length."""
    requests = [_request(units, length) for _ in range(calls)]
    asyncio.run(_send(scene.stack.addresses[0], requests))


def send_too_many(scene: Scene) -> None:
    """Ask for more whole sends at once than there are places for: the rest gets 503."""
    send(scene, SENDS_AT_ONCE, SEND_UNITS, SEND_BYTES)


async def _send(address: tuple[str, int], requests: list[bytes]) -> None:
    caller = Caller()
    asked = (caller.ask(address, request, CALL_SECONDS_MAX) for request in requests)
    await asyncio.gather(*asked, return_exceptions=True)
    await caller.close()


def _request(units: int, length: int) -> bytes:
    body = msgspec.json.encode(_body(units)).ljust(length)
    head = "POST /choose/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


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
