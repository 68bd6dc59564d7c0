"""Look up what is not held in memory in rounds: many questions, one at a time for the stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import islice
from typing import Generic, TypeVar

KEYS_MAX = 64  # Of one round: whoever asks among a flood of others waits a few rounds at most.

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class Lookups(Generic[Key, Found]):
    """One round runs at a time, and answers what was asked before it began.

    So whatever was written before somebody asked is found, and however many ask, the stores are
    asked by one round after the other.
    """

    def __init__(
        self, look_up: Callable[[Sequence[Key]], Awaitable[dict[Key, Found | Exception]]]
    ) -> None:
        """`look_up` answers every key, with what was found or with what is raised to its askers."""
        self._look_up = look_up
        self._waiting: dict[Key, asyncio.Future[Found | Exception]] = {}
        self._rounds: asyncio.Task[None] | None = None

    async def find(self, key: Key) -> Found:
        """Return what the next round finds, or raise what it meets."""
        asked = self._waiting.get(key)
        if asked is None:
            asked = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._take_rounds())
        # Whoever gives up does not take the answer from the others.
        found = await asyncio.shield(asked)
        if isinstance(found, Exception):
            raise found
        return found

    async def _take_rounds(self) -> None:
        while self._waiting:
            asked = dict(islice(self._waiting.items(), KEYS_MAX))
            for key in asked:
                del self._waiting[key]
            found = await self._found(list(asked))
            for key, answer in asked.items():
                answer.set_result(found[key])

    async def _found(self, keys: list[Key]) -> dict[Key, Found | Exception]:
        try:
            return await self._look_up(keys)
        except Exception as error:  # noqa: BLE001  Whoever waits must be told, whatever it was.
            return dict.fromkeys(keys, error)
