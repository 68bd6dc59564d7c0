"""A whole send: decisions a second, and the time until all of them are in the ledger."""

from __future__ import annotations

import time

from loadtests.bench.figures import Figure, fallback_figure
from loadtests.bench.run import Run
from loadtests.client import Client, batch_body
from service.sla import LEDGER_LAG_SECONDS_MAX

EXPERIMENT = "load-0000"
UNITS = 10_000  # In a call.
CALLS = 30
CALLS_MIN = 20
WARM_UP_CALLS = 3
RATE_MIN = 80_000.0


def measure_batch(run: Run) -> list[Figure]:
    """Measure calls back to back on one connection, and how far the ledger is behind."""
    calls = CALLS_MIN if run.is_quick else CALLS
    run.say(f"batch: {calls} calls of {UNITS:,} units")
    with run.site() as site:
        client = site.service().client
        client.put_experiment(EXPERIMENT)
        send(client, "warm-up", WARM_UP_CALLS)
        client.wait_for_pulls(EXPERIMENT, WARM_UP_CALLS * UNITS, LEDGER_LAG_SECONDS_MAX)
        seconds = send(client, "send", calls)
        lag = client.wait_for_pulls(
            EXPERIMENT, (WARM_UP_CALLS + calls) * UNITS, 4 * LEDGER_LAG_SECONDS_MAX
        )
        fallbacks = client.fallbacks()
    rate = calls * UNITS / seconds
    name = f"a send of {calls * UNITS:,}: its end to all in the ledger"
    return [
        Figure("/choose/batch, decisions a second", rate, "/s", ">=", RATE_MIN),
        Figure(name, lag, "s", "<=", LEDGER_LAG_SECONDS_MAX),
        fallback_figure("/choose/batch", fallbacks, (WARM_UP_CALLS + calls) * UNITS),
    ]


def send(client: Client, tag: str, calls: int) -> float:
    """Choose for units that are all new; return the seconds that the calls took."""
    bodies = [
        batch_body(EXPERIMENT, "2026-11-24", (f"{tag}-{call:04d}-{i:05d}" for i in range(UNITS)))
        for call in range(calls)
    ]
    started = time.perf_counter()
    for body in bodies:
        client.choose_batch(body)
    return time.perf_counter() - started
