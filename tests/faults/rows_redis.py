"""What can happen to Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.proxy import Mode
from tests.faults.scenario import Lab, Scenario


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
def slow(lab: Lab) -> Iterator[None]:
    lab.stack.redis_proxy.switch(Mode.DELAY, delay_ms=1_000)
    yield
    lab.stack.redis_proxy.mend()


ROWS = (
    Scenario(name="Redis killed (kill -9), back empty", fault=killed, is_quick=True),
    Scenario(name="Redis hung (SIGSTOP)", fault=hung, is_quick=True),
    Scenario(name="Redis slow (1 s)", fault=slow),
)
