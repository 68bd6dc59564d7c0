"""Look up what is not held in memory in rounds: many questions, one at a time for the stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from service.errors import LedgerUnavailableError, UnavailableError
from service.sla import TEMPLATE_BUDGET_MS

KEYS_MAX = 64  # Of one round: whoever asks among a flood of others waits a few rounds at most.
WAITING_MAX = 256  # Keys: however many ask for one of them, they are one question.
LOOK_UPS_AT_ONCE = 4  # Of what is not held: most of it exists nowhere.
WAIT_SECONDS = TEMPLATE_BUDGET_MS / 1_000  # Of whoever sets no deadline.

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


@dataclass(slots=True, eq=False)
class Question(Generic[Found]):
    """What some callers wait for together."""

    answer: asyncio.Future[Found | Exception]
    askers: int = 0

    def settle(self, answer: Found | Exception) -> None:
        """Tell whoever still waits."""
        if not self.answer.done():
            self.answer.set_result(answer)


class Lookups(Generic[Key, Found]):
    """One round runs at a time, and answers what was asked before it began.

    So whatever was written before somebody asked is found, and however many ask, the stores are
    asked by one round after the other. Nobody waits for what others asked, nor past a deadline.
    """

    def __init__(
        self,
        held: Callable[[Key], Found | None],
        look_up: Callable[[Key], Awaitable[Found]],
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Begin each round with `prepare`; `held` tells what is in memory after it."""
        self._held = held
        self._look_up = look_up
        self._prepare = prepare
        self._waiting: dict[Key, Question[Found]] = {}
        self._rounds: asyncio.Task[None] | None = None

    async def find(self, key: Key, deadline: float | None = None) -> Found:
        """Return what the next round finds, or raise what it meets.

        Raises `UnavailableError` at the deadline, a time of the event loop, and when too many wait.
        """
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        question = self._asked(key)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._take_rounds())
        question.askers += 1
        try:
            async with asyncio.timeout_at(deadline):
                # Whoever gives up does not take the answer from the others.
                found = await asyncio.shield(question.answer)
        except TimeoutError as error:
            raise UnavailableError("what was asked for could not be looked up in time") from error
        finally:
            question.askers -= 1
            self._forget(key, question)
        if isinstance(found, Exception):
            raise found
        return found

    def _asked(self, key: Key) -> Question[Found]:
        question = self._waiting.get(key)
        if question is None:
            if len(self._waiting) >= WAITING_MAX:
                raise UnavailableError("too much is being looked up; try again")
            question = Question(asyncio.get_running_loop().create_future())
            self._waiting[key] = question
        return question

    def _forget(self, key: Key, question: Question[Found]) -> None:
        """Take back what nobody waits for any more, if no round has begun with it."""
        if not question.askers and self._waiting.get(key) is question:
            del self._waiting[key]

    async def _take_rounds(self) -> None:
        while self._waiting:
            asked = dict(islice(self._waiting.items(), KEYS_MAX))
            for key in asked:
                del self._waiting[key]
            try:
                await self._take_round(asked)
            except Exception as error:  # noqa: BLE001  Whoever waits must be told, whatever it was.
                self._fail(iter(asked.items()), error)

    async def _take_round(self, asked: dict[Key, Question[Found]]) -> None:
        try:
            if self._prepare is not None:
                await self._prepare()
        finally:  # Also a preparation that failed may have found some of it.
            for key, question in asked.items():
                held = self._held(key)
                if held is not None:
                    question.settle(held)
        left = iter(asked.items())
        await asyncio.gather(*(self._answer(left) for _ in range(LOOK_UPS_AT_ONCE)))

    async def _answer(self, left: Iterator[tuple[Key, Question[Found]]]) -> None:
        """Look up one after the other of what is left, beside others who do the same."""
        for key, question in left:
            if question.answer.done() or not question.askers:
                continue
            try:
                question.settle(await self._look_up(key))
            except Exception as error:  # noqa: BLE001  What one of them meets is its own,
                question.settle(error)
                if isinstance(error, LedgerUnavailableError):
                    self._fail(left, error)  # but all of them need SQL.

    def _fail(self, left: Iterator[tuple[Key, Question[Found]]], error: Exception) -> None:
        """Tell everybody who waits and is not being answered, rather than let each wait in turn."""
        for _, question in left:
            question.settle(error)
        if isinstance(error, LedgerUnavailableError):
            for question in self._waiting.values():
                question.settle(error)
            self._waiting.clear()
