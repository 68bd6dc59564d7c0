"""Run the application under uvicorn: its start, its ready signal, and an end that drops nobody."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import cast

import uvicorn

from service.api.departure import Departure
from service.api.hot_dispatch import HotDispatcher
from service.api.protocol import Protocol
from service.api.room import Room, raise_file_limit
from service.api.turnstile import Door
from service.logs import logger
from service.metrics import Metrics

BACKLOG = 2_048
END_SECONDS = 8  # For requests under way.
# Whatever stands after the start stays: collections that look at it cost 29 ms instead of 3.
# Cycles, of which every statement of SQLAlchemy is one, wait for as many new objects as the first
# number says: 10,000 are some megabytes at most, and looked through in half a millisecond.
GC_THRESHOLDS = (10_000, 50, 100)


# SQL runs on threads that let go of the interpreter at every statement: with Python's 5 ms they
# would wait longer to go on than for the database.
THREAD_SWITCH_SECONDS = 0.0005
TICKS_PER_SECOND = 10  # Of uvicorn's main loop.
TICK_SECONDS = 1 / TICKS_PER_SECOND
READY_POLL_SECONDS = 0.05

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What a process tells of itself from its start to its end."""

    is_ready: Callable[[], Awaitable[bool]]
    ready_descriptor: int | None = None  # Written to once ready: others share the port.
    departure: Departure
    drain_seconds: float = 0.0  # From `/readyz` answering 503 to the end.


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, life: Life, room: Room) -> None:
        super().__init__(config)
        self._life = life
        self._room = room
        self._drain_ticks = round(life.drain_seconds * TICKS_PER_SECOND)
        self._ready_teller: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.setswitchinterval(THREAD_SWITCH_SECONDS)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        if self._life.ready_descriptor is not None:
            self._ready_teller = asyncio.create_task(self._tell_ready(self._life.ready_descriptor))

    async def _tell_ready(self, descriptor: int) -> None:
        while not await self._life.is_ready():  # noqa: ASYNC110  Its loops tell nobody.
            await asyncio.sleep(READY_POLL_SECONDS)
        os.write(descriptor, b"1")
        os.close(descriptor)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End now, or first say so for a while; a second signal does not wait."""
        departure = self._life.departure
        if sig == signal.SIGTERM and self._drain_ticks and not departure.has_begun:
            departure.has_begun = True
        else:
            departure.has_begun = True
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_SECOND == 0:
            self._tick_connections()
        if self._life.departure.has_begun and not self.should_exit:
            if self._drain_ticks == round(self._life.drain_seconds * TICKS_PER_SECOND):
                _log.info("api_drains", seconds=self._life.drain_seconds)
            self._drain_ticks -= 1
            self.should_exit = self._drain_ticks <= 0
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody new, answer what was asked, close who is idle, then close the stores."""
        _log.info("api_ends", connections=len(self.server_state.connections))
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        if self._ready_teller is not None:
            self._ready_teller.cancel()
        await self._end_connections()
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()

    async def _end_connections(self) -> None:
        for tick in range(END_SECONDS * TICKS_PER_SECOND):
            # Again and again: one may have been accepted just before the socket was closed.
            for connection in tuple(self.server_state.connections):
                connection.shutdown()
            await asyncio.sleep(TICK_SECONDS)
            if tick % TICKS_PER_SECOND == 0:
                self._tick_connections()
            if self.force_exit or not (self.server_state.connections or self.server_state.tasks):
                return
        _log.warning("api_end_cut_short", requests=len(self.server_state.tasks))

    def _tick_connections(self) -> None:
        connections = cast(set[Protocol], self.server_state.connections)
        self._room.tick(connections)
        for connection in tuple(connections):
            connection.tick()


def run(app: HotDispatcher, listener: socket.socket, metrics: Metrics, life: Life) -> None:
    """Serve on a listening socket until SIGTERM; requests under way are finished."""
    room = Room(raise_file_limit(), metrics.connections)
    protocol = partial(Protocol, door=Door(metrics.refused, app.turnstile), room=room)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=cast(type[Protocol], protocol),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
    )
    _Server(config, life, room).run([listener])
