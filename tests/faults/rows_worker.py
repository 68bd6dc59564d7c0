"""What can happen to the worker: killed anywhere, twice there, held up, or given poison."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from service.store.redis_connection import script
from service.worker.lease import LEASE_SECONDS
from tests.faults.gate import Gate
from tests.faults.ledger import decisions, expire_leases, head
from tests.faults.parts import Process
from tests.faults.scenario import Fault, Lab, Scenario
from tests.faults.stack import Layout

KILLS = 8
SEED = 7
RESTART_SECONDS = (0.3, 3.0)  # From a restart, which takes about one, to the next kill.
COMMIT_OF_THE_DRAIN = (b"INTO outbox_positions", b"COMMIT")
TRANSACTION_BYTES = 1 << 16
FREED_SECONDS_MAX = 20.0  # A transaction may last 10, and another worker waits up to 5.
POSTGRES_SOCKET = ".s.PGSQL.5432"


def killed_often(kills: int) -> Fault:
    """Return the kill of the worker again and again, wherever it is."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        dice = np.random.default_rng(SEED)
        for seconds in dice.uniform(*RESTART_SECONDS, kills):
            lab.stack.workers[0].kill()
            lab.stack.workers[0].start()
            time.sleep(seconds)
        yield

    return fault


def killed_at_commit(*, is_committed: bool) -> Fault:
    """Return the kill of a worker whose COMMIT is on its way, or the answer to it is."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        gate, victim = _behind_sql_gate(lab, b"COMMIT\0" if is_committed else None)
        before = _kill_at(lab, gate, victim)
        expire_leases(lab.stack)  # Its own too: what is wanted here is what becomes of the chunk.
        arrived = lab.stack.more["at the gate"] - before
        lab.expect((arrived > 0) is is_committed, f"{arrived} decisions had arrived at the kill")
        yield

    return fault


def killed_at_publication(*, is_published: bool) -> Fault:
    """Return the kill of a worker while an allocation is on its way to Redis, or has just come."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        number, _ = head(lab.stack, lab.experiment)
        socket = _place(lab, lab.stack.redis.directory) / "gate.sock"
        gate = Gate(
            listen=socket,
            upstream=lab.stack.redis.socket,
            marks=(script("publish").sha, b"pb:a:{%d}" % number),
            answer=b":1\r\n" if is_published else None,
        )
        _kill_at(lab, gate, _worker(lab, {"REDIS_URL": f"unix://{socket}"}))
        in_redis, in_sql = _versions(lab)
        lab.expect(
            (in_redis == in_sql) is is_published,
            f"at the kill Redis had version {in_redis} and SQL {in_sql}",
        )
        yield

    return fault


def _place(lab: Lab, directory: Path) -> Path:
    place = directory / f"gate-{lab.experiment}"
    place.mkdir()
    return place


def _behind_sql_gate(lab: Lab, answer: bytes | None) -> tuple[Gate, Process]:
    """Return a worker of its own way to SQL, and the gate on it: the first COMMIT of its drain."""
    server = lab.stack.postgres
    place = _place(lab, server.directory)
    gate = Gate(
        listen=place / POSTGRES_SOCKET,
        upstream=server.socket,
        marks=COMMIT_OF_THE_DRAIN,
        answer=answer,
        memory_bytes=TRANSACTION_BYTES,
    )
    url = server.url.replace(str(server.proxied.parent), str(place))
    return gate, _worker(lab, {"DATABASE_URL": url})


def _worker(lab: Lab, addresses: dict[str, str]) -> Process:
    log = lab.stack.directory / f"worker-{lab.experiment}.log"
    return Process(("worker",), {**lab.stack.environment, **addresses}, log)


@contextmanager
def _held(gate: Gate, victim: Process) -> Iterator[None]:
    """Start a worker behind a gate and wait until it is held there; it is killed afterwards."""
    with gate:
        victim.start()
        try:
            gate.wait()
            yield
        finally:
            victim.kill()
        gate.reset()


def _kill_at(lab: Lab, gate: Gate, victim: Process) -> int:
    """Put a worker in the place of the usual one, and kill it at the gate.

    Returns how many decisions the ledger had when nobody drained; the gate shows how many then.
    """
    usual = lab.stack.workers[0]
    usual.kill()
    expire_leases(lab.stack)  # Its lease, not that of the victim.
    before = decisions(lab.stack, lab.experiment)
    with _held(gate, victim):
        lab.stack.more["at the gate"] = decisions(lab.stack, lab.experiment)
    usual.start()
    return before


def _versions(lab: Lab) -> tuple[int, int]:
    number, version = head(lab.stack, lab.experiment)
    with lab.stack.redis_client() as client:
        return int(client.hget(f"pb:a:{{{number}}}", "version") or 0), version


@contextmanager
def frozen_in_a_transaction(lab: Lab) -> Iterator[None]:
    """Stop a second worker between its last statement and its COMMIT, as a paused machine does.

    Its transaction has the experiment's lock; the first worker must get on nevertheless.
    """
    gate, frozen = _behind_sql_gate(lab, None)
    with _held(gate, frozen):
        frozen.pause()
        before = decisions(lab.stack, lab.experiment)
        deadline = time.perf_counter() + FREED_SECONDS_MAX
        while decisions(lab.stack, lab.experiment) == before and time.perf_counter() < deadline:
            time.sleep(0.2)
        behind = decisions(lab.stack, lab.experiment)
        lab.expect(behind > before, "nobody got past the lock of the frozen worker")
        yield


@contextmanager
def lease_expires(lab: Lab) -> Iterator[None]:
    """Hold the worker that has the lease until that has run out, and let it go on."""
    holder = int(not _has_lease(lab, 0))
    lab.expect(_has_lease(lab, holder), "no worker has the lease")
    lab.stack.workers[holder].pause()
    yield
    lab.expect(_has_lease(lab, 1 - holder), "the other worker did not take the lease")
    lab.stack.workers[holder].go_on()


def _has_lease(lab: Lab, index: int) -> bool:
    log = lab.stack.log(f"worker-{index + 1}")
    return log.rfind("lease_taken") > log.rfind("lease_lost")


def the_lease_moved(lab: Lab) -> None:
    """Check that the worker that was held knows by now that it has lost the lease."""
    holders = sum(_has_lease(lab, index) for index in range(2))
    lab.expect(holders == 1, f"{holders} workers think that they have the lease")


TWO_WORKERS = Layout(workers=2)
ROWS = (
    Scenario(
        name="Worker killed (kill -9) eight times, wherever it is",
        fault=killed_often(KILLS),
        reward_statuses=(200,),
    ),
    Scenario(
        name="Worker killed before its commit to the ledger",
        fault=killed_at_commit(is_committed=False),
    ),
    Scenario(
        name="Worker killed after its commit to the ledger",
        fault=killed_at_commit(is_committed=True),
        is_quick=True,
    ),
    Scenario(
        name="Worker killed (kill -9) four times, with SQLite",
        fault=killed_often(4),
        layout=Layout(sql="sqlite"),
        reward_statuses=(200, 202),
    ),
    Scenario(
        name="Worker killed before publishing an allocation",
        fault=killed_at_publication(is_published=False),
        reward_statuses=(200,),
    ),
    Scenario(
        name="Worker killed after publishing an allocation",
        fault=killed_at_publication(is_published=True),
        reward_statuses=(200,),
    ),
    Scenario(
        name="Worker frozen in the midst of a transaction, another at work",
        fault=frozen_in_a_transaction,
    ),
    Scenario(
        name="Two workers, one held until its lease has expired",
        fault=lease_expires,
        layout=TWO_WORKERS,
        fault_seconds=LEASE_SECONDS + 3.0,
        check=the_lease_moved,
    ),
)
