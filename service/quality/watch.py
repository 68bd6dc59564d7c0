"""The watch: asks every check of every running experiment again and again, a little at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from msgspec import Struct

from service.domain.clock import HOUR_MS, MINUTE_MS, SECOND_MS, Clock
from service.domain.experiment import Experiment, ExperimentState
from service.errors import UnavailableError
from service.quality.orphans import OrphanHunt
from service.quality.standings import Standings
from service.quality.verdicts import Check, CheckState, Verdict
from service.store.ports import ExperimentStore, Ledger
from service.store.quality_ports import TallyStore

TURN_SECONDS_MAX = 1.0  # Of work; what is left then comes first the next time.
ROUTINE_MS = 5 * MINUTE_MS  # A silence tells nobody that it grows.
EXPERIMENTS_MS = 30 * SECOND_MS
NEWEST_HOURS = 2
KEEP_HOURS = 35 * 24  # Of tallies: a week more than the checks read.
EXPIRE_EVERY_MS = HOUR_MS
EXPIRE_COUNT = 20_000
_STATE_WORDS = {"draft": "a draft"}


class Look(Struct, frozen=True):
    """When an experiment was judged, and what was known of it then."""

    at_ms: int
    configuration: int
    revision: int
    rewards: int


@dataclass(slots=True, kw_only=True)
class QualityWatch:
    """Judges the experiments that have something new, and all of them now and then."""

    checks: Sequence[Check]
    experiments: ExperimentStore
    ledger: Ledger
    tallies: TallyStore
    orphans: OrphanHunt
    standings: Standings
    clock: Clock
    turn_seconds_max: float = TURN_SECONDS_MAX
    _known: dict[int, Experiment] = field(default_factory=dict, init=False)
    _looks: dict[int, Look] = field(default_factory=dict, init=False)
    _known_at_ms: int | None = field(default=None, init=False)
    _expired_at_ms: int | None = field(default=None, init=False)

    async def turn(self) -> None:
        """Do a bounded piece of work; raise what checks failed with when all have had their turn.

        An experiment is never without a turn because a check of another one fails.
        """
        now_ms = self.clock.monotonic_ms()
        await self.standings.load(now_ms)
        await self.orphans.turn()
        await self._expire(now_ms)
        revisions = await self.ledger.evidence_revisions()
        since_hour = self.clock.now_ms() // HOUR_MS - NEWEST_HOURS + 1
        rewards = await self.tallies.totals(since_hour)
        await self._learn_experiments(now_ms, revisions)
        looks = {
            number: Look(now_ms, each.revision, revisions.get(number, 0), rewards.get(number, 0))
            for number, each in self._known.items()
        }
        errors = await self._judge_due(looks)
        await self.standings.save()
        if errors:
            raise ExceptionGroup("checks of data quality failed", list(errors.values()))

    async def _expire(self, now_ms: int) -> None:
        if _is_due(self._expired_at_ms, now_ms, EXPIRE_EVERY_MS):
            before_hour = self.clock.now_ms() // HOUR_MS - KEEP_HOURS
            if await self.tallies.expire(before_hour, EXPIRE_COUNT) < EXPIRE_COUNT:
                self._expired_at_ms = now_ms

    async def _learn_experiments(self, now_ms: int, revisions: Mapping[int, int]) -> None:
        """Read the configurations now and then, and when an unknown experiment has evidence."""
        is_known = revisions.keys() <= self._known.keys()
        if not is_known or _is_due(self._known_at_ms, now_ms, EXPERIMENTS_MS):
            self._known = {each.number: each for each in await self.experiments.all()}
            self._known_at_ms = now_ms

    async def _judge_due(self, looks: Mapping[int, Look]) -> dict[str, Exception]:
        """Judge what is due, the longest unseen first, for as long as a turn may take."""
        errors: dict[str, Exception] = {}
        started = perf_counter()
        for number in self._due(looks):
            await self._judge(self._known[number], errors)
            self._looks[number] = looks[number]
            if perf_counter() - started > self.turn_seconds_max:
                break
        return errors

    def _due(self, looks: Mapping[int, Look]) -> list[int]:
        due = [
            (-1 if (last := self._looks.get(number)) is None else last.at_ms, number)
            for number, look in looks.items()
            if self._is_news(number, look)
        ]
        return [number for _, number in sorted(due)]

    def _is_news(self, number: int, look: Look) -> bool:
        last = self._looks.get(number)
        if last is None or last.configuration != look.configuration:
            return True
        if self._known[number].state is not ExperimentState.RUNNING:
            return False
        is_routine = look.at_ms - last.at_ms >= ROUTINE_MS
        return is_routine or (last.revision, last.rewards) != (look.revision, look.rewards)

    async def _judge(self, experiment: Experiment, errors: dict[str, Exception]) -> None:
        now_ms = self.clock.now_ms()
        if experiment.state is not ExperimentState.RUNNING:
            await self.standings.close(experiment, self._not_judged(experiment), now_ms)
            return
        for check in self.checks:
            try:
                verdict = await check.judge(experiment, now_ms)
                await self.standings.note(experiment, verdict, now_ms)
            except UnavailableError:
                raise
            except Exception as error:  # noqa: BLE001  One check never stops the others.
                errors.setdefault(check.name, error)

    def _not_judged(self, experiment: Experiment) -> list[Verdict]:
        state = experiment.state.value
        sentence = f"The experiment is {_STATE_WORDS.get(state, state)}: its data are not judged."
        return [Verdict(check.name, CheckState.ok, sentence) for check in self.checks]


def _is_due(last_ms: int | None, now_ms: int, interval_ms: int) -> bool:
    return last_ms is None or now_ms - last_ms >= interval_ms
