"""One child process: its start, the word that it is ready, and its end."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from service.logs import logger

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to keep running."""

    name: str
    arguments: Sequence[str]
    stop_seconds: float
    descriptors: Sequence[int] = ()
    # Whether the next one starts, and says that it is ready, before the one it replaces ends.
    hands_over: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A child that was started; `exited` ends with it."""

    child: Child
    pid: int
    exited: asyncio.Task[int]
    process: asyncio.subprocess.Process

    async def end(self) -> None:
        """End it in order, or kill it when it takes too long."""
        if self.exited.done():
            return
        with suppress(ProcessLookupError):
            self.process.terminate()
        done, _ = await asyncio.wait({self.exited}, timeout=self.child.stop_seconds)
        if not done:
            _log.error("child_killed", child=self.child.name, after_seconds=self.child.stop_seconds)
            with suppress(ProcessLookupError):
                self.process.kill()
        await self.exited


async def start(
    child: Child, environment: Mapping[str, str], ready_descriptor: int | None = None
) -> Running:
    """Start a child; once ready it writes to the descriptor, if it is given one."""
    ready = () if ready_descriptor is None else (ready_descriptor,)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        # Never a package of the same name in the directory somebody happens to stand in.
        "-P",
        "-m",
        "service",
        *child.arguments,
        *(f"--ready-fd={descriptor}" for descriptor in ready),
        "--parent",
        str(os.getpid()),
        pass_fds=(*child.descriptors, *ready),
        env=environment,
        # Ctrl-C reaches only us: the children end in order.
        process_group=0,
    )
    _log.info("child_started", child=child.name, pid=process.pid)
    return Running(child, process.pid, asyncio.create_task(process.wait()), process)


class ReadyPipe:
    """Waits for a child's word that it is ready; its end without one counts as a no."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self._is_writer_open = True
        self.told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._reader, self._read)

    def close_writer(self) -> None:
        """Leave the writing end to the child."""
        if self._is_writer_open:
            self._is_writer_open = False
            os.close(self.writer)

    def close(self) -> None:
        """Let go of both ends."""
        self.close_writer()
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)

    def _read(self) -> None:
        word = os.read(self._reader, 1)
        if not self.told.done():
            self.told.set_result(bool(word))
        asyncio.get_running_loop().remove_reader(self._reader)
