"""Redis failed over by a Sentinel to a replica that had fallen behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from tests.faults.memory import losing
from tests.faults.proxy import Mode
from tests.faults.rows_redis import fell_back_and_remembers
from tests.faults.scenario import Lab, Scenario
from tests.faults.stack import Layout, Stack
from tests.sentinels import Watched, watched_servers
from tests.servers import free_port

LAG_SECONDS = 1.5
FAILOVER_TIMEOUT_MS = 60_000  # So long the Sentinel lets the replica follow the proxy.


def with_sentinel(stack: Stack) -> None:
    """Let the service find Redis through a Sentinel; the replica's link passes a proxy."""
    ports = (free_port(), free_port())
    link = ("127.0.0.1", free_port())
    stack.more["link"] = stack.proxy(link, ("127.0.0.1", ports[0]))
    servers = watched_servers(stack.directory / "ha", ports, link[1], FAILOVER_TIMEOUT_MS)
    watched = stack.more["watched"] = stack.use(servers)
    stack.redis_url = watched.url
    stack.redis_client = lambda: redis.Redis(port=watched.primary())


@contextmanager
def failed_over(lab: Lab) -> Iterator[None]:
    """Stall replication, lose the primary, and wait for the replica to be made primary."""
    watched: Watched = lab.stack.more["watched"]
    lab.stack.more["link"].switch(Mode.BLACK_HOLE)
    time.sleep(LAG_SECONDS)
    before = _decisions(watched.ports[0])
    lab.expect(_decisions(watched.ports[1]) < before, "the replica did not fall behind")
    old, _ = watched.signal_primary(signal.SIGKILL)
    watched.wait_for_another_than(old)
    yield


def _decisions(port: int) -> int:
    """Return how many decisions a server remembers."""
    with redis.Redis(port=port) as client:
        return sum(client.hlen(key) for key in client.scan_iter("pb:r:*", count=1_000))


ROWS = (
    Scenario(
        name="Redis failed over by a Sentinel, to a replica behind a black-holed link",
        fault=losing(failed_over),
        layout=Layout(own="sentinel"),
        prepare=with_sentinel,
        fault_seconds=0.0,
        reward_statuses=(200,),
        check=fell_back_and_remembers,
    ),
)
