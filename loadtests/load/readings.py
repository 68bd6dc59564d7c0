"""What the service says of itself: counters, its own verdict, the audit, and what is underway."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from loadtests.client import Client, RefusedError
from service.sla import HOUR, LEDGER_LAG_SECONDS_MAX

LINE = re.compile(r"^promobandit_(\w+?)(?:\{.*\})? (\S+)$", re.MULTILINE)
POLL_SECONDS = 0.5
# The worker measures the outbox once a second: an empty one is believed when it was seen so often.
EMPTY_SEEN = 3


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters and gauges of `/metrics`, each summed up over its labels."""

    values: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values.get(name, 0.0)

    def since(self, before: Counters, name: str) -> float:
        """Return by how much a counter has risen."""
        return self[name] - before[name]


def counters_of(page: str) -> Counters:
    """Read a page of metrics."""
    values: dict[str, float] = {}
    for name, value in LINE.findall(page):
        values[name] = values.get(name, 0.0) + float(value)
    return Counters(values)


def counters(client: Client) -> Counters:
    """Ask for the counters as they are now."""
    return counters_of(client.request("GET", "/metrics").decode())


def server_levels(client: Client) -> dict[str, Mapping[str, float | str | None]]:
    """Return what the service says of its last hour, by route."""
    answer = json.loads(client.request("GET", "/sla"))
    return {route["route"]: route["windows"][HOUR.name] for route in answer["routes"]}


def seconds_to_ledger(client: Client) -> float | None:
    """Wait until all is in the ledger; return how long that took, None if it is too long."""
    started, seen = time.perf_counter(), 0
    while (waited := time.perf_counter() - started) < LEDGER_LAG_SECONDS_MAX:
        try:
            is_empty = counters(client)["outbox_bytes"] == 0
        except RefusedError:
            is_empty = False
        seen = seen + 1 if is_empty else 0
        if seen == EMPTY_SEEN:
            return waited
        time.sleep(POLL_SECONDS)
    return None
