"""A service each of whose processes has a clock of its own, which a scenario can set."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service.bootstrap.system import SystemClock
from service.domain.clock import DAY_MS, HOUR_MS
from service.settings import child_environment
from tests.faults.parts import Process
from tests.faults.scenario import Fault, Lab
from tests.faults.skewed import set_skew
from tests.faults.stack import Layout, Stack
from tests.servers import free_port

NONE_OF_ITS_OWN = Layout(apis=0, workers=0, own="clocks")
APIS = 2
ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class SkewedProcess(Process):
    """A process of the service, built of the same parts around another clock."""

    clock: Path = field(kw_only=True)

    def start(self) -> None:
        """Start it; it may not be ready yet."""
        assert self._process is None or self._process.returncode is not None
        command = [sys.executable, "-m", "tests.faults.skewed", str(self.clock), *self.arguments]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [*command, "--parent", str(os.getpid())],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env=child_environment(self.environment),
                cwd=ROOT,
            )


def with_clocks(stack: Stack) -> None:
    """Make two API processes and a worker whose clocks are right until somebody sets them."""
    _make(stack, 0)


def before_midnight(stack: Stack) -> None:
    """Make the same in a world where it is half past eleven at night, UTC."""
    _make(stack, DAY_MS - HOUR_MS // 2 - SystemClock().now_ms() % DAY_MS)


def clocks_off(hours: float, *names: str) -> Fault:
    """Return the jump of some clocks, and their jump back."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        with jumped(lab, hours, *names):
            yield

    return fault


@contextmanager
def jumped(lab: Lab, hours: float, *names: str) -> Iterator[None]:
    """Set the clocks of some processes ahead, or back, for a while."""
    usual: int = lab.stack.more["usual"]
    for name in names:
        set_skew(_clock(lab.stack, name), usual + round(hours * HOUR_MS))
    yield
    for name in names:
        set_skew(_clock(lab.stack, name), usual)


def _make(stack: Stack, skew_ms: int) -> None:
    stack.more["usual"] = skew_ms
    for number in range(1, APIS + 1):
        stack.ports.append(free_port())
        arguments = ("api", "--port", str(stack.ports[-1]))
        stack.apis.append(_process(stack, f"api-{number}", arguments, skew_ms))
    stack.workers.append(_process(stack, "worker-1", ("worker",), skew_ms))


def _process(stack: Stack, name: str, arguments: tuple[str, ...], skew_ms: int) -> Process:
    clock = _clock(stack, name)
    set_skew(clock, skew_ms)
    log = stack.directory / f"{name}.log"
    return stack.use(closing(SkewedProcess(arguments, stack.environment, log, clock=clock)))


def _clock(stack: Stack, name: str) -> Path:
    return stack.directory / f"{name}.clock"
