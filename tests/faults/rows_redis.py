"""What can happen to Redis, and to what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import redis

from tests.faults.load import OCCASION, Plan
from tests.faults.memory import losing, remembers, still_remembers
from tests.faults.proxy import Mode
from tests.faults.scenario import Fault, Lab, Scenario
from tests.faults.stack import Layout

SAVE_SECONDS_MAX = 10.0


def proxied(mode: Mode, *, delay_ms: float = 0.0, every: int = 1) -> Fault:
    """Return a fault of the connections to Redis."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        before = lab.stack.redis_proxy.resets
        lab.stack.redis_proxy.switch(mode, delay_ms=delay_ms, every=every)
        yield
        is_reset = mode is not Mode.RESET_AFTER_APPLY or lab.stack.redis_proxy.resets > before
        lab.expect(is_reset, "no answer was lost")
        lab.stack.redis_proxy.mend()

    return fault


@contextmanager
def killed(lab: Lab) -> Iterator[None]:
    lab.stack.redis.kill()
    yield
    lab.stack.redis.start()


@contextmanager
def hung(lab: Lab) -> Iterator[None]:
    lab.stack.redis.pause()
    yield
    lab.stack.redis.go_on()


@contextmanager
def out_of_memory(lab: Lab) -> Iterator[None]:
    with lab.stack.redis.client() as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


@contextmanager
def disk_full(lab: Lab) -> Iterator[None]:
    """Let Redis fail to save, so that it refuses to write; saving by hand ends that."""
    assert lab.stack.disk is not None
    with lab.stack.redis.client() as client:
        lab.stack.disk.fill()
        _save_until(client, "err")
        _refuses(lab, client)
        yield
        lab.stack.disk.free()
        _save_until(client, "ok")


def _save_until(client: redis.Redis, status: str) -> None:
    deadline = time.perf_counter() + SAVE_SECONDS_MAX
    while client.info("persistence")["rdb_last_bgsave_status"] != status:
        assert time.perf_counter() < deadline, f"no save ended {status}"
        if not client.info("persistence")["rdb_bgsave_in_progress"]:
            client.bgsave()
        time.sleep(0.02)


def _refuses(lab: Lab, client: redis.Redis) -> None:
    try:
        client.set("pb:probe", b"")
    except redis.ResponseError as error:
        lab.expect("MISCONF" in str(error), f"Redis refuses for another reason: {error}")
    else:
        lab.expect(holds=False, complaint="Redis does not refuse to write")


@contextmanager
def flushed(lab: Lab) -> Iterator[None]:
    with lab.stack.redis.client() as client:
        client.flushall()
    yield


@contextmanager
def replaced(lab: Lab) -> Iterator[None]:
    """Lead everybody to a new, empty server, as a managed service does in a fail-over."""
    new = lab.stack.new_redis(f"redis-{lab.experiment}")
    lab.stack.redis_proxy.lead_to(new.socket)
    lab.stack.redis, lab.stack.redis_client = new, new.client
    yield


def both_agree(lab: Lab) -> None:
    """Check that some sends were answered twice, and that the same allocation told the same."""
    beside = sum(not row["counted"] for row in lab.rows)
    lab.expect(beside > 0, "no send was answered by two processes")
    told: dict[tuple[str, int], str] = {}
    named = {row["decision_id"] for row in lab.rows if row["occasion"] == OCCASION}
    apart = sum(
        told.setdefault((decided.unit, decided.version), decided.variant) != decided.variant
        for decided in lab.load.decided
        if decided.decision_id in named
    )
    lab.expect(apart == 0, f"{apart} sends got two variants from the same allocation")


def fell_back(lab: Lab) -> None:
    """Check that the fault did bite."""
    lab.expect(lab.answered("choose", 200, "fallback") > 0, "nobody had to fall back")


def fell_back_and_remembers(lab: Lab) -> None:
    """Check that the fault did bite, and that nothing tells any more."""
    fell_back(lab)
    remembers(lab)


def fell_back_and_still_remembers(lab: Lab) -> None:
    """Check that the fault did bite, and that nobody gets another answer after it."""
    fell_back(lab)
    still_remembers(lab)


def _row(
    name: str, fault: Fault, check: Callable[[Lab], None] = fell_back_and_still_remembers
) -> Scenario:
    return Scenario(name=name, fault=fault, check=check, reward_statuses=(200,))


ROWS = (
    replace(
        _row(
            "Redis killed (kill -9), started again empty", losing(killed), fell_back_and_remembers
        ),
        is_quick=True,
    ),
    replace(_row("Redis hung (SIGSTOP)", hung), is_quick=True),
    _row("Redis slow: 1 s more for each call", proxied(Mode.DELAY, delay_ms=1_000)),
    _row("Redis slow once: 1 s", proxied(Mode.DELAY_ONCE, delay_ms=1_000)),
    _row("Redis behind a black hole", proxied(Mode.BLACK_HOLE)),
    _row("Redis half open: calls arrive, answers do not", proxied(Mode.HALF_OPEN)),
    _row("Redis refuses connections", proxied(Mode.REFUSE)),
    replace(
        _row(
            "Redis answers lost after they were applied, one in five",
            proxied(Mode.RESET_AFTER_APPLY, every=5),
        ),
        is_quick=True,
    ),
    _row("Redis out of memory (maxmemory): refuses writes", out_of_memory),
    replace(
        _row("Redis on a full disk (MISCONF): refuses writes", disk_full),
        layout=Layout(on_small_disk="redis", redis_options=("--save", "3600", "1")),
    ),
    replace(
        _row("Redis flushed (FLUSHALL)", losing(flushed), remembers),
        fault_seconds=0.0,
        is_quick=True,
    ),
    replace(
        _row("Valkey flushed (FLUSHALL)", losing(flushed), remembers),
        fault_seconds=0.0,
        layout=Layout(redis="valkey"),
    ),
    replace(_row("Redis replaced by an empty one", losing(replaced), remembers), fault_seconds=0.0),
    replace(
        _row("Two processes fall back for the same occasion", killed, both_agree),
        layout=Layout(apis=2),
        plan=Plan(choices_a_second=100.0, twin_share=1.0),
        is_quick=True,
    ),
)
