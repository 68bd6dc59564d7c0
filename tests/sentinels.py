"""A primary, its replica and the Sentinel that watches them, on loopback ports."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.servers import _running, _wait_until, free_port, redis_server, server_binary

SERVICE = "main"
DOWN_AFTER_MS = 300


@dataclass(slots=True)
class Watched:
    """Two servers, one of them primary, and their Sentinel."""

    sentinel: int
    ports: tuple[int, int]

    @property
    def url(self) -> str:
        """The address that the service knows; its first Sentinel is gone."""
        return f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{self.sentinel}/{SERVICE}"

    def primary(self) -> int:
        """Return the port that the Sentinel gives as the primary's."""
        with redis.Redis(port=self.sentinel, decode_responses=True) as client:
            return int(client.execute_command("SENTINEL", "get-master-addr-by-name", SERVICE)[1])

    def fail_over(self) -> None:
        """Make the replica the primary while both live."""
        before = self.primary()
        with redis.Redis(port=self.sentinel) as client:
            while not _is_accepted(client):
                time.sleep(0.05)
        self.wait_for_another_than(before)

    def signal_primary(self, number: signal.Signals) -> tuple[int, int]:
        """Signal the primary's process; return its port and its process id."""
        port = self.primary()
        with redis.Redis(port=port) as client:
            pid = int(client.info("server")["process_id"])
        os.kill(pid, number)
        return port, pid

    def wait_for_another_than(self, port: int, seconds: float = 20.0) -> None:
        """Wait until the Sentinel has made another server primary, and it is one."""
        deadline = time.perf_counter() + seconds
        while not self._is_another_primary(port):
            assert time.perf_counter() < deadline, "no failover"
            time.sleep(0.02)

    def _is_another_primary(self, port: int) -> bool:
        other = self.primary()
        with suppress(redis.RedisError), redis.Redis(port=other, socket_timeout=1) as client:
            return other != port and client.execute_command("ROLE")[0] == b"master"
        return False


def _is_accepted(sentinel: redis.Redis) -> bool:
    """Ask for a failover; a Sentinel that has just found the replica refuses."""
    try:
        sentinel.execute_command("SENTINEL", "failover", SERVICE)  # type: ignore[no-untyped-call]
    except redis.ResponseError:
        return False
    return True


def _wait_for_replica(port: int) -> None:
    with redis.Redis(port=port) as client:
        while client.info("replication")["master_link_status"] != "up":
            time.sleep(0.02)


@contextmanager
def watched_servers(
    directory: Path,
    ports: tuple[int, int] | None = None,
    link: int | None = None,
    failover_timeout_ms: int = 2_000,
) -> Iterator[Watched]:
    """Run a primary, a replica and a Sentinel until all three agree.

    With `link` the replica follows that port, a proxy's: for as long as the failover timeout,
    after which the Sentinel leads it to the primary itself.
    """
    directory.mkdir()
    watched = Watched(free_port(), ports or (free_port(), free_port()))
    with ExitStack() as stack:
        for port in watched.ports:
            home = directory / str(port)
            home.mkdir()
            replicaof = ("--replicaof", "127.0.0.1", str(link or watched.ports[0]))
            options = [
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--repl-diskless-sync-delay",
                "0",
            ]
            options += replicaof if port != watched.ports[0] else ()
            stack.enter_context(redis_server("redis", home, *options))
        _wait_for_replica(watched.ports[1])  # What the Sentinel sees first, it believes for 10 s.
        config = directory / "sentinel.conf"
        config.write_text(
            f"port {watched.sentinel}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {watched.ports[0]} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} {failover_timeout_ms}\n"
        )
        command = [str(server_binary("redis")), str(config), "--sentinel"]
        log = directory / "sentinel.log"
        process = stack.enter_context(_running(command, log, signal.SIGTERM))

        def agrees() -> bool:
            with redis.Redis(port=watched.sentinel) as client:
                (state,) = client.sentinel_masters().values()
            return bool(state["num-slaves"])

        _wait_until(agrees, process, log, (redis.RedisError, ValueError))
        yield watched
