"""Rewards: early, late, repeated, for strangers' decisions; each answer as the model says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from service.domain.reward import RewardStatus
from service.domain.token import TokenCodec
from service.errors import (
    DecisionNotFoundError,
    InvalidInputError,
    LedgerUnavailableError,
    ServiceError,
    UnavailableError,
    WindowClosedError,
)
from service.rewards import LEDGER_PAUSE_MS, RewardWish
from tests.stateful.lifecycle_model import EVENTS
from tests.stateful.machine import PROCESSES, Machine
from tests.stateful.model import Credit, Told
from tests.stateful.world import LOST, UP

OWN, OTHER, FORGED = "own", "other", "forged"
INDICES = st.integers(0, 1_000)
HAPPENED_MS = st.sampled_from(
    [None, None, 0, MINUTE_MS, HOUR_MS, HOUR_MS + 1, 30 * HOUR_MS, -DAY_MS, -DAY_MS - 1, 9 * DAY_MS]
)
EVENT_NAMES = st.sampled_from(["conversion", "conversion", "open", "unheard"])
EVENT_IDS = st.sampled_from(["", "", "order-1", "order-2"])
FORGER = TokenCodec({1: b"f" * 32}, 1)
Outcome = RewardStatus | BaseException


class Crediting(Machine):
    """Shops report, again and again."""

    @precondition(lambda self: self.told)
    @rule(
        p=PROCESSES,
        index=INDICES,
        event=EVENT_NAMES,
        event_id=EVENT_IDS,
        after_ms=HAPPENED_MS,
        times=st.integers(1, 3),
    )
    def reward(
        self, p: int, index: int, event: str, event_id: str, after_ms: int | None, times: int
    ) -> None:
        """Report something of a decision, and the same at once again."""
        told = self.told[-1 - index % len(self.told)]
        wish = self._wish(told, event, event_id, after_ms)
        tenant, process = told.tenant, self.processes[p]
        expected = [self._expected(p, told, wish)] * times

        async def all_rewards() -> list[Outcome]:
            given = [process.rewards.reward(tenant, wish) for _ in range(times)]
            return list(await asyncio.gather(*given, return_exceptions=True))

        if process.tables.by_number(told.experiment) is None:
            times, expected = 1, expected[:1]
        outcomes = self.run(all_rewards())
        self._check(p, expected, outcomes, is_batch=False)

    @precondition(lambda self: self.told)
    @rule(
        p=PROCESSES,
        indices=st.lists(st.tuples(INDICES, EVENT_NAMES), min_size=1, max_size=4),
        whose=st.sampled_from([OWN, OWN, OTHER, FORGED]),
    )
    def reward_batch(self, p: int, indices: list[tuple[int, str]], whose: str) -> None:
        """Report many at once, some of them not of this tenant, or nobody's."""
        process = self.processes[p]
        told = [self.told[-1 - index % len(self.told)] for index, _ in indices]
        if any(process.tables.by_number(each.experiment) is None for each in told):
            return
        wishes: list[RewardWish | ServiceError] = []
        expected: list[Credit | type[ServiceError]] = []
        tenant = told[0].tenant if whose != OTHER else 3 - told[0].tenant
        for each, (_, event) in zip(told, indices, strict=True):
            wish = self._wish(each, event, "", None)
            expected.append(self._expected(p, each, wish))
            if whose == FORGED and each is told[-1]:
                wish = RewardWish(self._forged(each), event)
                expected[-1] = DecisionNotFoundError
            if each.tenant != tenant:
                expected[-1] = DecisionNotFoundError
            wishes.append(wish)
        outcomes = self.run(process.rewards.reward_batch(tenant, wishes))
        self._check(p, expected, outcomes, is_batch=True)

    def _wish(self, told: Told, event: str, event_id: str, after_ms: int | None) -> RewardWish:
        occurred_at_ms = None if after_ms is None else told.at_ms + after_ms
        return RewardWish(told.id, event, None, event_id, occurred_at_ms)

    def _forged(self, told: Told) -> str:
        """Return the id that somebody without our key would make of one of ours."""
        claim = self.servers.codec.decode(told.id)
        assert claim is not None
        return told.id[:48] + "A" * 24

    def _expected(self, p: int, told: Told, wish: RewardWish) -> Credit | type[ServiceError]:
        """Return what a reward is recorded as, or why it is not."""
        now_ms = self.processes[p].clock.now_ms()
        at_ms = now_ms if wish.occurred_at_ms is None else wish.occurred_at_ms
        if not told.at_ms - DAY_MS <= at_ms <= now_ms + DAY_MS:
            return InvalidInputError
        status = "accepted"
        if wish.event not in EVENTS or not told.is_counted:
            status = "ignored"
        elif at_ms - told.at_ms > self._window_ms(p, told.experiment):
            status = "late"
        return Credit(
            told.key,
            wish.event,
            wish.event_id,
            told.experiment,
            told.variant,
            told.at_ms,
            status,
            bool(EVENTS.get(wish.event)),
        )

    def _window_ms(self, p: int, number: int) -> int:
        """Return the window by the configuration that a process holds, or will have found."""
        table = self.processes[p].tables.by_number(number)
        if table is None:
            (found,) = [
                revisions[-1]
                for n, revisions in self.servers.experiments._revisions.items()
                if n == number
            ]
            return found.reward.window_seconds * SECOND_MS
        revisions = self.servers.experiments._revisions[number]
        return revisions[table.allocation.revision - 1].reward.window_seconds * SECOND_MS

    def _check(
        self,
        p: int,
        expected: Sequence[Credit | type[ServiceError]],
        outcomes: Sequence[Outcome],
        *,
        is_batch: bool,
    ) -> None:
        """Check what was answered, and follow the rewards to where they are now."""
        process = self.processes[p]
        taken = [each for each in expected if isinstance(each, Credit)]
        if any(process.tables.by_number(each.experiment) is None for each in taken):
            assert all(isinstance(each, UnavailableError) for each in outcomes)
            return
        statuses = iter(self._settled(p, taken) if taken else [])
        for each, outcome in zip(expected, outcomes, strict=True):
            if not isinstance(each, Credit):
                assert type(outcome) is each
                continue
            status = next(statuses)
            if status == "unavailable":
                assert isinstance(outcome, LedgerUnavailableError)
            elif status == "late" or (status == "queued" and each.status == "late"):
                is_told = outcome is RewardStatus.late if is_batch else _is_closed(outcome)
                assert is_told, outcome
            else:
                assert isinstance(outcome, RewardStatus), outcome
                assert outcome.name == status

    def _settled(self, p: int, taken: Sequence[Credit]) -> list[str]:
        """Return what the rewards of one batch are told, ledger first, else the outbox."""
        now_ms, mode = self.servers.time.at_ms, self.servers.sql.mode
        outbox = self.processes[p].outbox
        if now_ms >= self.ledger_paused_until_ms[p]:
            if mode == UP:
                statuses = self.commit(taken)
                if not outbox.is_full:  # A copy is kept, should SQL fail over to an older state.
                    self._write(p, taken)
                return statuses
            self.ledger_paused_until_ms[p] = now_ms + LEDGER_PAUSE_MS
            if mode == LOST:
                self.commit(taken)
        if outbox.is_full:
            return ["unavailable"] * len(taken)
        self._write(p, taken)
        return ["queued"] * len(taken)

    def _write(self, p: int, taken: Sequence[Credit]) -> None:
        outbox = self.processes[p].outbox
        self.drains.files[outbox.name] += taken
        assert len(outbox.records) == len(self.drains.files[outbox.name])


def _is_closed(outcome: Outcome) -> bool:
    return isinstance(outcome, WindowClosedError)
