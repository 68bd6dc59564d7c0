"""Run the application under uvicorn, with the garbage collector out of the way of requests."""

from __future__ import annotations

import gc
import socket

import uvicorn
from starlette.types import ASGIApp

BACKLOG = 2_048
KEEP_ALIVE_SECONDS = 75  # Longer than load balancers keep idle connections: 60 s, mostly.
END_SECONDS = 8  # For requests under way.
# Whatever stands after the start stays: collections that look at it cost 29 ms instead of 3.
GC_THRESHOLDS = (50_000, 50, 100)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)


def run(app: ASGIApp, listener: socket.socket) -> None:
    """Serve on a listening socket until SIGTERM; requests under way are finished."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
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
