"""Start the children of one machine, restart them on a signal, and end them in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from service.logs import logger
from service.supervisor import process
from service.supervisor.hangups import is_at_terminal
from service.supervisor.keeper import Keeper
from service.supervisor.process import Child, Running

GIVE_UP_AFTER = 5  # Quick ends in a row before the service was ever ready: it never will be.
WATCH_SECONDS = 0.5
READY_POLL_SECONDS = 0.05

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
    _keepers: list[list[Keeper]] = field(default_factory=list)
    _restart: asyncio.Task[None] | None = None
    _was_ready: bool = False
    _exit_code: int = 0

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, and return the exit code.

        SIGHUP restarts the children, or ends them where it says that our terminal was closed.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        hung_up = self._stopping.set if is_at_terminal() else self._begin_restart
        loop.add_signal_handler(signal.SIGHUP, hung_up)
        if self.server is not None:
            await asyncio.to_thread(self.server.start)
        self._keepers = [[self._keeper(child) for child in group] for group in self.groups]
        groups = [
            [asyncio.create_task(keeper.run()) for keeper in group] for group in self._keepers
        ]
        watchers = [asyncio.create_task(self._watch_server()), asyncio.create_task(self._greet())]
        await self._stopping.wait()
        for keepers, tasks in zip(self._keepers, groups, strict=True):
            for keeper in keepers:
                keeper.end()
            await asyncio.gather(*tasks)
        for watcher in watchers:
            watcher.cancel()
        if self.server is not None:
            await asyncio.to_thread(self.server.stop)
        return self._exit_code

    def _keeper(self, child: Child) -> Keeper:
        return Keeper(child, self._start, self.on_exit, self._failed)

    async def _start(self, child: Child, ready_descriptor: int | None) -> Running:
        return await process.start(child, self.environment, ready_descriptor)

    def _failed(self, child: Child, failures: int) -> None:
        if failures >= GIVE_UP_AFTER and not self._was_ready:
            _log.error("gave_up", child=child.name, reason="it ends as soon as it starts")
            self._exit_code = 1
            self._stopping.set()

    def _begin_restart(self) -> None:
        if self._restart is not None and not self._restart.done():
            _log.warning("restart_under_way")
        elif not self._stopping.is_set():
            self._restart = asyncio.create_task(self._restart_all())

    async def _restart_all(self) -> None:
        """Replace the children one by one; the first that cannot be replaced ends it."""
        _log.info("restart_started")
        for keeper in [keeper for group in self._keepers for keeper in group]:
            if not await keeper.replace():
                _log.error("restart_given_up", child=keeper.child.name)
                return
            _log.info("child_replaced", child=keeper.child.name)
        _log.info("restart_finished")

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
