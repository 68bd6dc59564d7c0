"""The supervisor keeps its children, and replaces them without a gap, whatever they do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count

import pytest

from service.supervisor.keeper import Keeper
from service.supervisor.process import Child, Running

API = Child(name="api-1", arguments=(), stop_seconds=1.0, hands_over=True)
WORKER = Child(name="worker", arguments=(), stop_seconds=1.0)


@dataclass(slots=True)
class Pretended:
    """A process that ends when it is told to."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    code: int = 0

    def terminate(self) -> None:
        """End."""
        self.gone.set()

    async def wait(self) -> int:
        """Return the code of its end."""
        await self.gone.wait()
        return self.code


@dataclass(slots=True)
class Machine:
    """Starts pretended processes; a few times it may have none left to give."""

    refusals: int = 0
    says: bytes = b"1"  # Of a successor, once it is ready; nothing: it ends without a word.
    events: list[str] = field(default_factory=list)
    running: dict[int, Pretended] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    _pids: count[int] = field(default_factory=lambda: count(1))

    async def start(self, child: Child, ready_descriptor: int | None) -> Running:
        """Start one."""
        if self.refusals:
            self.refusals -= 1
            raise BlockingIOError("resource temporarily unavailable")
        pid = next(self._pids)
        process = self.running[pid] = Pretended()
        self.events.append(f"{pid} started")
        if ready_descriptor is not None:
            os.write(ready_descriptor, self.says)
        exited = asyncio.create_task(process.wait())
        return Running(child, pid, exited, process)  # type: ignore[arg-type]

    def ended(self, pid: int) -> None:
        """Note an end."""
        self.events.append(f"{pid} ended")
        del self.running[pid]

    def keeper(self, child: Child) -> Keeper:
        """Return the keeper of a child."""
        return Keeper(child, self.start, self.ended, lambda _, n: self.failures.append(n))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture(params=[API, WORKER], ids=["api", "worker"])
async def kept(request: pytest.FixtureRequest, machine: Machine) -> AsyncIterator[Keeper]:
    keeper = machine.keeper(request.param)
    task = asyncio.create_task(keeper.run())
    await until(lambda: bool(machine.running))
    yield keeper
    keeper.end()
    await asyncio.wait_for(task, 5)
    assert machine.running == {}


async def test_a_child_that_cannot_be_started_for_a_while_is_started_later(
    machine: Machine,
) -> None:
    machine.refusals = 2
    keeper = machine.keeper(API)
    run = asyncio.create_task(keeper.run())
    await until(lambda: bool(machine.running))
    keeper.end()
    await asyncio.wait_for(run, 5)

    assert machine.failures == [1, 2]
    assert machine.events == ["1 started", "1 ended"]


@pytest.mark.usefixtures("kept")
async def test_a_child_that_ended_is_started_again(machine: Machine) -> None:
    machine.running[1].terminate()
    await until(lambda: 2 in machine.running)

    assert machine.events == ["1 started", "1 ended", "2 started"]


async def test_only_a_child_that_hands_over_runs_beside_its_successor(
    machine: Machine, kept: Keeper
) -> None:
    assert await kept.replace()

    handed_over = ["1 started", "2 started", "1 ended"]
    in_turn = ["1 started", "1 ended", "2 started"]
    assert machine.events == (handed_over if kept.child.hands_over else in_turn)


@pytest.mark.parametrize("kept", [API], indirect=True)
async def test_a_successor_that_is_never_ready_ends_and_the_old_one_stays(
    machine: Machine, kept: Keeper
) -> None:
    machine.says = b""

    assert not await kept.replace()
    assert machine.events == ["1 started", "2 started", "2 ended"]
    assert not machine.running[1].gone.is_set()


@pytest.mark.parametrize("kept", [API], indirect=True)
async def test_without_a_process_left_for_a_successor_the_old_one_stays(
    machine: Machine, kept: Keeper
) -> None:
    machine.refusals = 1

    assert not await kept.replace()
    assert list(machine.running) == [1]


async def test_nothing_is_replaced_after_the_end(machine: Machine) -> None:
    keeper = machine.keeper(API)
    keeper.end()

    assert not await keeper.replace()


def test_a_restart_that_is_asked_for_too_early_ends_nothing() -> None:
    program = (
        "import os, signal, subprocess\n"
        "from service.supervisor import outlive_hangups\n"
        "outlive_hangups()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "child.send_signal(signal.SIGHUP)\n"
        "print(child.wait())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )

    assert ended.returncode == 0
    assert int(ended.stdout) == -signal.SIGHUP  # What it starts is as it would be without.
