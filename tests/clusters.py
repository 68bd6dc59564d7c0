"""A Redis Cluster of real processes on loopback ports, and what happens to one."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import redis

from tests.servers import free_port, redis_server

SLOTS = 1 << 14
NODE_TIMEOUT_MS = 5_000  # Redis' own is 15,000.
AGREED_SECONDS_MAX = 30.0
FAILOVER_SECONDS = 6.0
BUS = 10_000  # From a node's port to the one on which the nodes talk.
LATE_EPOCH = 1_000
KEYS_A_STEP = 10  # What redis-cli moves at once.


@dataclass(slots=True)
class Member:
    """One server of a cluster."""

    kind: Literal["redis", "valkey"]
    directory: Path
    port: int
    timeout_ms: int
    id: str = ""
    pid: int = 0
    _running: ExitStack = field(default_factory=ExitStack)

    def client(self) -> redis.Redis:
        """Return a client of this server alone; close it."""
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=5.0)

    def start(self) -> None:
        """Start it, empty; it knows nobody if it is new, else whom it knew."""
        self.directory.mkdir(exist_ok=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--cluster-enabled", "yes"]
        options += ["--cluster-node-timeout", str(self.timeout_ms)]
        options += ["--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"]
        self._running.enter_context(redis_server(self.kind, self.directory, *options))
        self.id = str(self.command("CLUSTER", "MYID"))
        with self.client() as client:
            self.pid = int(client.info("server")["process_id"])

    def command(self, *words: object) -> object:
        """Run one command here."""
        with self.client() as client:
            return client.execute_command(*words)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process."""
        os.kill(self.pid, number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it hang: it accepts, and says nothing."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it: no goodbye."""
        self.signal(signal.SIGKILL)
        self._running.close()

    def close(self) -> None:
        """End it."""
        self._running.close()


@dataclass(slots=True)
class Cluster:
    """Primaries with a share of the slots each; the first replica is the first one's, and so on."""

    primaries: list[Member]
    replicas: list[Member] = field(default_factory=list)

    @property
    def members(self) -> list[Member]:
        """All servers."""
        return self.primaries + self.replicas

    @property
    def url(self) -> str:
        """The address that the service knows; its first node is none."""
        known = ",".join(f"127.0.0.1:{each.port}" for each in self.primaries[:2])
        return f"redis+cluster://127.0.0.1:{free_port()},{known}"

    def client(self) -> redis.RedisCluster:
        """Return a client of the whole cluster; close it."""
        for member in self.members:
            with suppress(redis.RedisError):
                return redis.RedisCluster(host="127.0.0.1", port=member.port)
        raise RuntimeError("no member of the cluster answers")

    def owner(self, slot: int) -> Member:
        """Return the member that serves a slot, as the first one that answers says."""
        for member in self.members:
            with suppress(redis.RedisError):
                port = dict(_ports_of_slots(member)).get(slot)
                return next(each for each in self.members if each.port == port)
        raise RuntimeError(f"nobody serves slot {slot}")

    def flush(self) -> None:
        """Empty every primary."""
        for each in self.primaries:
            each.command("FLUSHALL")

    def move(self, slot: int, to: Member) -> None:
        """Move a slot with all its keys, as `redis-cli --cluster reshard` does."""
        source = self.owner(slot)
        to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        with source.client() as client:
            while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, KEYS_A_STEP):
                client.migrate("127.0.0.1", to.port, keys, 0, 5_000)
        for member in (to, source, *(m for m in self.primaries if m not in (to, source))):
            with suppress(redis.RedisError):  # A killed one learns it when it is back.
                member.command("CLUSTER", "SETSLOT", slot, "NODE", to.id)

    def fail_over(self) -> None:
        """Let the last replica take its primary's place while both live."""
        replica = self.replicas[-1]
        self._promoted(replica, is_asked=True)

    def wait_for_failover(self, lost: Member) -> None:
        """Wait until the replica of a primary that is gone has taken its place."""
        self._promoted(self.replicas[self.primaries.index(lost)])

    def _promoted(self, replica: Member, *, is_asked: bool = False) -> None:
        deadline = time.perf_counter() + AGREED_SECONDS_MAX
        ask_at = 0.0 if is_asked else deadline
        while cast(list[Any], replica.command("ROLE"))[0] != "master":
            if time.perf_counter() > deadline:
                raise RuntimeError("no failover")
            if time.perf_counter() > ask_at:  # A server gives up after five seconds.
                ask_at = time.perf_counter() + FAILOVER_SECONDS
                with suppress(redis.RedisError):  # Its primary may be starting, or it is one now.
                    replica.command("CLUSTER", "FAILOVER")
            time.sleep(0.02)
        at = self.replicas.index(replica)
        self.replicas[at], self.primaries[at] = self.primaries[at], replica

    def replace(self, lost: Member) -> None:
        """Put a new, empty server in the place of a primary that is gone for ever."""
        others = [each for each in self.members if each is not lost]
        (port,) = _ports(1)
        new = Member(lost.kind, lost.directory.parent / str(port), port, lost.timeout_ms)
        self.primaries[self.primaries.index(lost)] = new
        new.start()
        slots = [slot for slot, port in _ports_of_slots(others[0]) if port == lost.port]
        new.command("CLUSTER", "ADDSLOTS", *slots)
        # Higher than anybody's: so the others believe that it serves these.
        new.command("CLUSTER", "SET-CONFIG-EPOCH", LATE_EPOCH)
        for each in others:
            each.command("CLUSTER", "FORGET", lost.id)
        for each in others:
            new.command("CLUSTER", "MEET", "127.0.0.1", each.port)
        self.wait_until_agreed()

    def wait_until_agreed(self) -> None:
        """Wait until every member sees all slots served."""
        deadline = time.perf_counter() + AGREED_SECONDS_MAX
        for member in self.members:
            while not _is_ok(member, len(self.members)):
                if time.perf_counter() > deadline:
                    raise RuntimeError(str(member.command("CLUSTER", "INFO")))
                time.sleep(0.02)

    def close(self) -> None:
        """End all of them."""
        for each in self.members:
            each.close()


@contextmanager
def redis_cluster(
    directory: Path,
    kind: Literal["redis", "valkey"] = "redis",
    *,
    replicas: int = 0,
    timeout_ms: int = NODE_TIMEOUT_MS,
) -> Iterator[Cluster]:
    """Run three primaries, the first ones with a replica each, until all members agree."""
    directory.mkdir()
    with ExitStack() as stack:
        ports = _ports(3 + replicas)
        members = [Member(kind, directory / str(port), port, timeout_ms) for port in ports]
        cluster = Cluster(members[:3], members[3:])
        stack.callback(cluster.close)
        for member in cluster.members:
            member.start()
        _introduce(cluster)
        cluster.wait_until_agreed()
        for primary, replica in zip(cluster.primaries, cluster.replicas, strict=False):
            follow(replica, primary)
        yield cluster


def _introduce(cluster: Cluster) -> None:
    share = SLOTS // len(cluster.primaries) + 1
    for number, member in enumerate(cluster.members):
        member.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        slots = range(number * share, min((number + 1) * share, SLOTS))
        if member in cluster.primaries:
            member.command("CLUSTER", "ADDSLOTS", *slots)
        member.command("CLUSTER", "MEET", "127.0.0.1", cluster.primaries[0].port)


def follow(replica: Member, primary: Member) -> None:
    """Make a member the replica of another, and wait until it has its memory."""
    deadline = time.perf_counter() + AGREED_SECONDS_MAX
    replica.command("CLUSTER", "REPLICATE", primary.id)
    with replica.client() as client:
        while client.info("replication").get("master_link_status") != "up":
            if time.perf_counter() > deadline:
                raise RuntimeError("the replica does not follow")
            time.sleep(0.02)


def _ports_of_slots(member: Member) -> Iterator[tuple[int, int]]:
    """Return each slot with the port of the one that serves it, as a member sees it."""
    served: Any = member.command("CLUSTER", "SLOTS")
    for first, last, (_, port, *_), *_replicas in served:
        yield from ((slot, port) for slot in range(first, last + 1))


def _is_ok(member: Member, count: int) -> bool:
    with suppress(redis.RedisError):
        info = str(member.command("CLUSTER", "INFO"))
        wanted = ("cluster_state:ok", f"cluster_known_nodes:{count}", f"slots_ok:{SLOTS}")
        return all(each in info for each in wanted)
    return False


def _ports(count: int) -> Sequence[int]:
    """Return free ports whose bus port is free as well."""
    found: dict[int, None] = {}
    while len(found) < count:
        port = free_port()
        if port + BUS < 1 << 16 and _is_free(port + BUS):
            found[port] = None
    return list(found)


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
