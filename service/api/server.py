"""Run the application under uvicorn, with the garbage collector out of the way of requests."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from service.api.protocol import KEEP_ALIVE_SECONDS, Protocol

BACKLOG = 2_048
END_SECONDS = 8  # For requests under way.
# Whatever stands after the start stays: collections that look at it cost 29 ms instead of 3.
GC_THRESHOLDS = (50_000, 50, 100)


# SQL runs on threads that let go of the interpreter at every statement: with Python's 5 ms they
# would wait longer to go on than for the database.
THREAD_SWITCH_SECONDS = 0.0005
TICKS_PER_SECOND = 10  # Of uvicorn's main loop.


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.setswitchinterval(THREAD_SWITCH_SECONDS)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_PER_SECOND == 0:
            for connection in tuple(self.server_state.connections):
                cast(Protocol, connection).tick()
        return await super().on_tick(counter)


def run(app: ASGIApp, listener: socket.socket, refused: Callable[[int], None]) -> None:
    """Serve on a listening socket until SIGTERM; requests under way are finished.

    `refused` is told the status of each request that did not reach the application.
    """
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=cast(type[Protocol], partial(Protocol, refused=refused)),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=END_SECONDS,
    )
    _Server(config).run([listener])
