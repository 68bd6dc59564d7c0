"""Keep the processes of one machine running: start, watch, start again, end in order."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from service.logs import logger

BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 5.0
STEADY_SECONDS = 10.0  # A child that ran so long starts its back-off anew.
GIVE_UP_AFTER = 5  # Quick ends in a row before the service was ever ready: it never will be.
WATCH_SECONDS = 0.5
READY_POLL_SECONDS = 0.05
READY_ASK_SECONDS = 2.0
PARENT_POLL_SECONDS = 1.0
BACKLOG = 2_048
_PR_SET_PDEATHSIG = 1

_log = logger(__name__)


class Server(Protocol):
    """The embedded server; its calls block for at most a few seconds."""

    def start(self) -> None:
        """Start it and wait until it answers."""
        ...

    def is_running(self) -> bool:
        """Whether its process lives."""
        ...

    def stop(self) -> None:
        """End it in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to keep running."""

    name: str
    arguments: Sequence[str]
    stop_seconds: float
    descriptors: Sequence[int] = ()


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Runs the children until told to stop; `groups` end one after the other."""

    groups: Sequence[Sequence[Child]]
    environment: Mapping[str, str]
    server: Server | None
    is_ready: Callable[[], Awaitable[bool]]
    announce: Callable[[], None]
    on_exit: Callable[[int], None]  # Called with the process id of each child that ended.
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _was_ready: bool = False
    _exit_code: int = 0

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, and return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        if self.server is not None:
            await asyncio.to_thread(self.server.start)
        ends = [asyncio.Event() for _ in self.groups]
        keepers = [
            [asyncio.create_task(self._keep(child, end)) for child in group]
            for group, end in zip(self.groups, ends, strict=True)
        ]
        watchers = [asyncio.create_task(self._watch_server()), asyncio.create_task(self._greet())]
        await self._stopping.wait()
        for end, group in zip(ends, keepers, strict=True):
            end.set()
            await asyncio.gather(*group)
        for watcher in watchers:
            watcher.cancel()
        if self.server is not None:
            await asyncio.to_thread(self.server.stop)
        return self._exit_code

    async def _keep(self, child: Child, end: asyncio.Event) -> None:
        """Run a child again and again until its group's end."""
        failures = 0
        while not end.is_set():
            started = time.perf_counter()
            try:
                code = await self._run_once(child, end)
            except OSError as error:  # No memory or no process left: there will be some again.
                _log.error("child_not_started", child=child.name, error=str(error))
                code = None
            if end.is_set():
                return
            ran_seconds = time.perf_counter() - started
            failures = 1 if ran_seconds > STEADY_SECONDS else failures + 1
            _log.error("child_ended", child=child.name, code=code, seconds=round(ran_seconds, 1))
            if failures >= GIVE_UP_AFTER and not self._was_ready:
                self._give_up(child)
            seconds = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** (failures - 1))
            await _wait(end, seconds)

    async def _run_once(self, child: Child, end: asyncio.Event) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            # Never a package of the same name in the directory somebody happens to stand in.
            "-P",
            "-m",
            "service",
            *child.arguments,
            "--parent",
            str(os.getpid()),
            pass_fds=child.descriptors,
            env=self.environment,
            # Ctrl-C reaches only us: the children end in order.
            process_group=0,
        )
        _log.info("child_started", child=child.name, pid=process.pid)
        exited = asyncio.create_task(process.wait())
        ending = asyncio.create_task(end.wait())
        await asyncio.wait({exited, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not exited.done():
            await _end(process, exited, child)
        self.on_exit(process.pid)
        return await exited

    def _give_up(self, child: Child) -> None:
        _log.error("gave_up", child=child.name, reason="it ends as soon as it starts")
        self._exit_code = 1
        self._stopping.set()

    async def _watch_server(self) -> None:
        """Start the embedded server again whenever it is gone."""
        while self.server is not None:
            await asyncio.sleep(WATCH_SECONDS)
            if not self.server.is_running():
                _log.error("embedded_server_ended")
                try:
                    await asyncio.to_thread(self.server.start)
                except (OSError, RuntimeError) as error:
                    _log.error("embedded_server_did_not_start", error=str(error))

    async def _greet(self) -> None:
        """Say once that the service is ready."""
        while not await self.is_ready():  # noqa: ASYNC110  Another process becomes ready.
            await asyncio.sleep(READY_POLL_SECONDS)
        self._was_ready = True
        self.announce()


async def _end(
    process: asyncio.subprocess.Process, exited: asyncio.Task[int], child: Child
) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    done, _ = await asyncio.wait({exited}, timeout=child.stop_seconds)
    if not done:
        _log.error("child_killed", child=child.name, after_seconds=child.stop_seconds)
        with suppress(ProcessLookupError):
            process.kill()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket that child processes can share."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def answers_ok(host: str, port: int, path: str) -> bool:
    """Whether a GET of a path is answered 200."""
    try:
        async with asyncio.timeout(READY_ASK_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                request = f"GET {path} HTTP/1.1\r\nHost: promobandit\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in status_line


def die_with(parent: int) -> None:
    """End this process when its parent ends, however that happens.

    A kill loses nothing here: what was acknowledged is in the outbox or in the ledger.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _kill_self_unless_child_of(parent)  # It may have ended before we asked.
    else:
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while True:
        _kill_self_unless_child_of(parent)
        time.sleep(PARENT_POLL_SECONDS)


def _kill_self_unless_child_of(parent: int) -> None:
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
