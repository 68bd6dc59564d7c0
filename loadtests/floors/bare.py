"""The bare floor: read the body, answer a constant; no Python web server does less."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


def bare_app(answer: bytes) -> AsgiApp:
    """Return an ASGI callable that answers every request with the same JSON."""
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(answer)),
        ],
    }
    body = {"type": "http.response.body", "body": answer}

    async def app(
        scope: Message,  # noqa: ARG001  ASGI passes it.
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        while (await receive()).get("more_body"):
            pass
        await send(start)
        await send(body)

    return app
