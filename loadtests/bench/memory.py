"""The memory that Redis takes to remember decisions."""

from __future__ import annotations

from pathlib import Path

import redis

from loadtests.bench.batch import EXPERIMENT, UNITS, send
from loadtests.bench.figures import Figure
from loadtests.bench.run import Run
from loadtests.client import Client
from service.sla import LEDGER_LAG_SECONDS_MAX

DECISIONS = 1_000_000
CALLS_AT_ONCE = 10  # Their bodies are made before they are sent.
MEGABYTES_MAX = 45.0


def measure_memory(run: Run) -> list[Figure]:
    """Measure what one million decisions with an occasion add to Redis."""
    calls = run.size(DECISIONS // UNITS)
    run.say(f"memory: {calls * UNITS:,} decisions")
    with run.site() as site:
        service = site.service()
        service.client.put_experiment(EXPERIMENT)
        send(service.client, "warm-up", 1)
        with redis.Redis(unix_socket_path=str(_socket(service.data_dir))) as server:
            before = _used(server)
            _send(service.client, calls)
            after = _used(server)
        if fallbacks := service.client.fallbacks():
            run.say(f"memory: {fallbacks} decisions were answered without Redis and take none")
        sent = (calls + 1) * UNITS
        lag = service.client.wait_for_pulls(EXPERIMENT, sent, 4 * LEDGER_LAG_SECONDS_MAX)
    megabytes = (after - before) / 1e6
    decisions = calls * UNITS
    note = f"{(after - before) / decisions:.1f} bytes a decision"
    bound = MEGABYTES_MAX * decisions / DECISIONS
    return [
        Figure(f"Redis memory of {decisions:,} decisions", megabytes, "MB", "<=", bound, note),
        Figure(f"{decisions:,} decisions: last answer to all in the ledger", lag, "s"),
    ]


def _send(client: Client, calls: int) -> None:
    for start in range(0, calls, CALLS_AT_ONCE):
        send(client, f"m{start:04d}", min(CALLS_AT_ONCE, calls - start))


def _socket(data_dir: Path) -> Path:
    found = [path for path in data_dir.rglob("*.sock*") if path.is_socket()]
    if len(found) != 1:
        raise RuntimeError(f"cannot tell the socket of Redis among {found}")
    return found[0]


def _used(server: redis.Redis) -> int:
    return int(server.info("memory")["used_memory"])
