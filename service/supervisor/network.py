"""The socket that API processes share, and the question whether anybody answers on it."""

from __future__ import annotations

import asyncio
import socket

READY_ASK_SECONDS = 2.0
BACKLOG = 2_048


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
