"""Choices: one by one, several at once, whole sends; each answer is checked against the model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import rule

from service.allocations.serving_tables import is_whole
from service.decisions import SOURCE_NAMES, Answer, Wish
from service.domain.allocation import Allocation
from service.domain.clock import DAY_MS, HOUR_MS
from service.domain.decision import Decision, decision_key
from service.domain.experiment import ExperimentState, VariantState
from service.domain.serving import ServingTable
from service.errors import (
    ExperimentNotStartedError,
    InvalidInputError,
    NoEligibleVariantError,
    OutboxUnavailableError,
    ServiceError,
    UnavailableError,
    VariantNotFoundError,
)
from tests.stateful.machine import EXPERIMENTS, PROCESSES, Machine
from tests.stateful.model import UNKNOWN, Told, Unknown, check_explained
from tests.stateful.world import DOWN, UP

UNITS = st.sampled_from(["ann", "bob", "eve"])
OCCASIONS = st.sampled_from(["mon", "tue"])
ELIGIBLE = st.sampled_from([None, None, ("a",), ("b", "a"), ("c", "d"), ("ghost",)])
FORCE = st.sampled_from([None, None, None, "b", "d", "ghost"])


class Heard(NamedTuple):
    """One answer as the caller gets it."""

    decision: Decision
    id: str
    replayed: bool


class Choosing(Machine):
    """Marketing asks, again and again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.picks: dict[object, object] = {}
        self.groups: dict[object, bool] = {}

    @rule(p=PROCESSES, e=EXPERIMENTS, unit=UNITS, occasion=OCCASIONS, times=st.integers(1, 3))
    def choose(self, p: int, e: int, unit: str, occasion: str, times: int) -> None:
        """Ask, and ask the same at once again."""
        self.ask(p, e, [Wish(unit, occasion)] * times)

    @rule(p=PROCESSES, e=EXPERIMENTS, unit=UNITS)
    def choose_without_occasion(self, p: int, e: int, unit: str) -> None:
        """Ask twice for what are two new decisions."""
        self.ask(p, e, [Wish(unit), Wish(unit)])

    @rule(p=PROCESSES, e=EXPERIMENTS, unit=UNITS, occasion=OCCASIONS, eligible=ELIGIBLE)
    def choose_among(
        self, p: int, e: int, unit: str, occasion: str, eligible: tuple[str, ...] | None
    ) -> None:
        """Ask for one of some variants."""
        self.ask(p, e, [Wish(unit, occasion, eligible)])

    @rule(p=PROCESSES, e=EXPERIMENTS, unit=UNITS, force=FORCE)
    def force(self, p: int, e: int, unit: str, force: str | None) -> None:
        """Ask for one variant, as a preview does."""
        self.ask(p, e, [Wish(unit, "mon", force=force)])

    @rule(p=PROCESSES, e=EXPERIMENTS, occasion=OCCASIONS, units=st.lists(UNITS, max_size=5))
    def choose_batch(self, p: int, e: int, occasion: str, units: list[str]) -> None:
        """Ask for a send in which units may be repeated."""
        process, target = self.processes[p], target_of(self, e)
        if not units or process.tables.get(*target) is None:
            return
        wishes = [Wish(unit, occasion) for unit in units]

        async def all_slices() -> list[Heard]:
            table = await process.bulk.table(*target)
            return [
                Heard(decision, process.decisions.decision_id(decision), i in piece.replayed)
                async for piece in process.bulk.choose(table, occasion, units)
                for i, decision in enumerate(piece.decisions)
            ]

        try:
            heard: Sequence[Heard | BaseException] = self.run(all_slices())
        except ServiceError as error:
            heard = [error] * len(units)
        self.check(p, process.tables.get(*target), wishes, heard)

    def ask(self, p: int, e: int, wishes: Sequence[Wish]) -> None:
        """Ask at once, and check the answers."""
        process, target = self.processes[p], target_of(self, e)
        if process.tables.get(*target) is None:
            wishes = wishes[:1]  # Who looks an experiment up first need not share a batch.

        async def all_answers() -> list[Heard | BaseException]:
            asked = [process.decisions.choose(*target, wish) for wish in wishes]
            return [_heard(each) for each in await asyncio.gather(*asked, return_exceptions=True)]

        heard = self.run(all_answers())
        self.check(p, process.tables.get(*target), wishes, heard)

    def check(
        self,
        p: int,
        table: ServingTable | None,
        wishes: Sequence[Wish],
        heard: Sequence[Heard | BaseException],
    ) -> None:
        """Check the answers to what was asked at once, and remember them."""
        if table is None:
            assert all(isinstance(each, UnavailableError) for each in heard)
            return
        refusal = _refusal(table.allocation, wishes[0])
        if refusal is not None:
            assert all(type(each) is refusal for each in heard)
            return
        is_lost = self.processes[p].outbox.is_full and self.servers.sql.mode != UP
        batch: dict[bytes, Told | Unknown] = {}
        answers: list[Told] = []
        for wish, each in zip(wishes, heard, strict=True):
            if is_lost:
                assert isinstance(each, OutboxUnavailableError)
                self._forget(p, table.allocation, wish)
            else:
                assert isinstance(each, Heard), each
                answers.append(self._one(p, table, wish, each, batch))
        self._record(p, answers)

    def _forget(self, p: int, allocation: Allocation, wish: Wish) -> None:
        """Know that Redis may remember what nobody was told."""
        if wish.occasion and wish.force is None and self.servers.redis.mode != DOWN:
            key = _key(allocation, wish)
            self.memory.remember(key, UNKNOWN, self.processes[p].clock.now_ms())

    def _one(
        self,
        p: int,
        table: ServingTable,
        wish: Wish,
        heard: Heard,
        batch: dict[bytes, Told | Unknown],
    ) -> Told:
        told, now_ms = _told(heard), self.processes[p].clock.now_ms()
        mode = self.servers.redis.mode
        asks = wish.occasion is not None and wish.force is None
        earlier: Told | Unknown | None = None
        if asks:
            assert told.key == _key(table.allocation, wish)
            earlier = self.memory.earlier(told.key, now_ms) if mode == UP else batch.get(told.key)
        assert heard.replayed == (earlier is not None)
        if earlier is None:
            self._check_new(table, wish, told, now_ms)
        elif isinstance(earlier, Told):
            assert told.is_again(earlier)
        if asks and mode != DOWN:
            source = "policy" if told.source == "fallback" and earlier is None else told.source
            self.memory.remember(told.key, told._replace(source=source), now_ms)
        if asks:
            batch[told.key] = told
            self._keep_promise(told, is_promised=mode == UP)
        return told

    def _check_new(self, table: ServingTable, wish: Wish, told: Told, now_ms: int) -> None:
        allocation = table.allocation
        eligible = None
        if wish.eligible is not None:
            eligible = tuple(sorted(table.variant_ids.index(name) for name in wish.eligible))
        assert (told.version, told.at_ms) == (allocation.version, now_ms)
        is_down = self.servers.redis.mode != UP and wish.occasion is not None
        if wish.force is None and told.source != "inactive":
            assert told.source == ("fallback" if is_down else "policy")
        check_explained(allocation, told, eligible)
        if told.source in {"policy", "fallback"} and wish.occasion is not None:
            place = (told.experiment, told.version, wish.unit, wish.occasion, eligible)
            pick = (told.variant, told.propensity, told.holdout)
            assert self.picks.setdefault(place, pick) == pick
        if told.is_counted:
            group = (told.experiment, allocation.holdout.share, wish.unit)
            assert self.groups.setdefault(group, told.holdout) == told.holdout

    def _keep_promise(self, told: Told, *, is_promised: bool) -> None:
        """Demand one id for a day, as long as Redis keeps its memory and clocks agree."""
        held, at_ms = self.promised.get(told.key, ("", 0))
        now_ms = self.servers.time.at_ms
        if not is_promised:
            self.fell_back.add(told.key)  # Which answer the ledger has first is open now.
            self.promised.pop(told.key, None)
        if told.key in self.fell_back or not is_whole(self.servers.published._epoch):
            return
        if held and now_ms - at_ms <= DAY_MS and not self.was_skewed:
            assert told.id == held
        elif not held or now_ms - at_ms > DAY_MS + HOUR_MS:
            self.promised[told.key] = (told.id, now_ms)

    def _record(self, p: int, answers: Sequence[Told]) -> None:
        """Follow the answers to the outbox, or past a full disk to the ledger."""
        outbox = self.processes[p].outbox
        self.told += answers
        if outbox.is_full:
            self.commit(answers)
        else:
            self.drains.files[outbox.name] += answers
        assert len(outbox.records) == len(self.drains.files[outbox.name])


def target_of(machine: Machine, e: int) -> tuple[int, str]:
    """Return whose experiment is meant."""
    return machine.configurations[e].tenant, machine.configurations[e].id


def _heard(outcome: Answer | BaseException) -> Heard | BaseException:
    if isinstance(outcome, Answer):
        assert outcome.variant_id == outcome.table.variant_ids[outcome.decision.variant]
        return Heard(outcome.decision, outcome.decision_id, outcome.replayed)
    return outcome


def _told(heard: Heard) -> Told:
    d = heard.decision
    return Told(
        heard.id,
        d.key,
        d.tenant,
        d.experiment,
        d.variant,
        d.version,
        d.decided_at_ms,
        d.propensity,
        d.holdout,
        SOURCE_NAMES[d.source],
    )


def _key(allocation: Allocation, wish: Wish) -> bytes:
    return decision_key(allocation.tenant, allocation.experiment, wish.unit, wish.occasion or "")


def _refusal(allocation: Allocation, wish: Wish) -> type[ServiceError] | None:
    """Return why a wish gets no answer, by the allocation that its process holds."""
    states = {slot.id: slot.state for slot in allocation.slots}
    named = wish.eligible or () if wish.force is None else (wish.force,)
    if allocation.state is ExperimentState.DRAFT:
        return ExperimentNotStartedError
    if not states.keys() >= set(named):
        return VariantNotFoundError
    if wish.force is not None:
        is_gone = states[wish.force] is VariantState.RETIRED
        return InvalidInputError if is_gone else None
    is_running = allocation.state is ExperimentState.RUNNING
    if (
        wish.eligible
        and is_running
        and not any(states[name] is VariantState.ACTIVE for name in named)
    ):
        return NoEligibleVariantError
    return None
