"""Does the traffic split as the allocations meant it? Judged decision by decision, for ever."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from math import floor, log
from typing import NamedTuple

from service.bandits.sample_ratio import ALARM_ODDS
from service.bandits.split_martingale import Suspicion
from service.domain.assignment import Assigner
from service.domain.clock import HOUR_MS, MINUTE_MS, SECOND_MS, Clock
from service.domain.evidence import is_of_another_state
from service.domain.experiment import Experiment, VariantState, label_of
from service.domain.quality import CheckState
from service.domain.split import SplitChange, eligible_indices
from service.metrics.page import Family, Page
from service.quality.split_state import Intent, Intents, Pulls, Shares, SplitState
from service.quality.verdicts import Verdict
from service.store.split_ports import SplitStore

NAME = "split"
WARNING_ODDS = 100.0
WARNING_ODDS_LEAST = 10.0  # A warning stays until it is gone: evidence wavers.
REVISIONS_MS = SECOND_MS  # All experiments' are read at once; so old may they be.
SHOWN_MS = 15 * MINUTE_MS  # What nobody has judged for longer is not judged any more.
_ODDS_EXPONENT_MAX = 9  # Nobody can tell more than a billion from never.
_DIGITS_MAX = 3

_BY_VARIANT = ("experiment", "variant")
INTENDED = Family(
    "split_intended_ratio",
    "Share of the last day's decisions that the allocations meant for a variant",
    "gauge",
    _BY_VARIANT,
)
ACTUAL = Family(
    "split_actual_ratio",
    "Share of the last day's decisions that a variant got",
    "gauge",
    _BY_VARIANT,
)
EVIDENCE = Family(
    "split_log_evidence",
    "Natural logarithm of the evidence against the intended split; 6.9 and more is an alarm",
    "gauge",
    ("experiment",),
)


class _Shown(NamedTuple):
    """What the learning page shows of an experiment."""

    label: str
    variants: tuple[str | None, ...]  # None for those that are retired.
    shares: Shares
    log_evidence: float


class _Held(NamedTuple):
    """What is known of an experiment as of an evidence revision and an hour."""

    revision: int
    configuration: int
    hour: int
    state: SplitState
    intents: Intents
    verdict: Verdict
    shown: _Shown


class SplitCheck:
    """Test every experiment's split against the propensities of its own allocations.

    See `SplitMartingale` for what an alarm means: among experiments that split as intended, fewer
    than one of 1,000 ever raises one, however often this looks. An alarm stays until the evidence
    has gone or the experiment was changed; pausing and resuming it is a change.
    """

    name = NAME

    def __init__(self, store: SplitStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._held: dict[int, _Held] = {}
        self._judged: dict[int, tuple[int, _Shown]] = {}  # When, and with what outcome.
        self._revisions: dict[int, int] = {}
        self._revisions_ms: int | None = None

    async def judge(self, experiment: Experiment, now_ms: int) -> Verdict:
        """Return the verdict of now; only what changed since the last one is read."""
        number, hour = experiment.number, now_ms // HOUR_MS
        newest = (await self._newest(now_ms)).get(number, 0)
        held = self._held.get(number)
        if held is None or (newest, experiment.revision, hour) != held[:3]:
            held = await self._refreshed(experiment, held, hour)
            if held is None:
                return Verdict(NAME, CheckState.ok, "No decisions to judge yet.")
            self._held[number] = held
        self._judged[number] = (now_ms, held.shown)
        return held.verdict

    def write(self, page: Page) -> None:
        """Put the last verdicts' figures on the learning page."""
        now_ms = self._clock.now_ms()
        for judged_ms, shown in list(self._judged.values()):  # Written beside the event loop.
            if now_ms - judged_ms < SHOWN_MS:
                _put(page, shown)

    async def _newest(self, now_ms: int) -> dict[int, int]:
        age_ms = None if self._revisions_ms is None else now_ms - self._revisions_ms
        if age_ms is None or not 0 <= age_ms < REVISIONS_MS:
            self._revisions = await self._store.revisions()
            self._revisions_ms = now_ms
        return self._revisions

    async def _refreshed(
        self, experiment: Experiment, held: _Held | None, hour: int
    ) -> _Held | None:
        """Return the state of now, or None without decisions.

        It goes on from the one held unless SQL went back, or an outbox that was late brought
        decisions of hours that were settled: then all counts are read again.
        """
        number = experiment.number
        change = await self._store.changes(number, 0 if held is None else held.revision)
        if held is not None and _is_anew(held, change):
            held, change = None, await self._store.changes(number)
        if held is None and not change.pulls:
            return None
        before = CheckState.ok if held is None else held.verdict.state
        intents = await self._intents(number, change.pulls, held)
        state = _state(experiment, change.pulls, intents) if held is None else held.state
        # Hours of a long life, after a start: beside the event loop.
        await asyncio.to_thread(state.take, change.pulls, intents, hour)
        kept = {key: intents[key] for key in state.wanted() & intents.keys()}
        verdict = _verdict(experiment, state, before)
        shown = _shown(experiment, state)
        key = (change.revision, experiment.revision, hour)
        return _Held(*key, state, kept, verdict, shown)

    async def _intents(self, number: int, pulls: Pulls, held: _Held | None) -> Intents:
        known = {} if held is None else dict(held.intents)
        wanted = {(key.version, key.eligible) for key in pulls}
        missing = wanted.union(set() if held is None else held.state.wanted()) - known.keys()
        if missing:
            versions = {version for version, _ in missing}
            found = await self._store.allocations(number, versions)
            for version, eligible in missing:
                if version in found:
                    allocation = found[version]
                    shares = Assigner(allocation).shares(eligible_indices(eligible))
                    known[version, eligible] = Intent(allocation.revision, shares)
        return known


def _is_anew(held: _Held, change: SplitChange) -> bool:
    is_back = is_of_another_state(held.revision, change.revision)
    return is_back or held.state.has_settled(change.pulls)


def _state(experiment: Experiment, pulls: Pulls, intents: Intents) -> SplitState:
    """Return the state of no decisions: it knows the variants that the first of all knew."""
    keys = ((key.version, key.eligible) for key in sorted(pulls))
    first = next((intents[key].shares for key in keys if key in intents), experiment.variants)
    return SplitState(experiment.created_at_ms // HOUR_MS, len(first))


def _shown(experiment: Experiment, state: SplitState) -> _Shown:
    ids = tuple(
        None if variant.state is VariantState.RETIRED else variant.id
        for variant in experiment.variants
    )
    return _Shown(label_of(experiment), ids, state.recent(), state.test.log_evidence)


def _put(page: Page, shown: _Shown) -> None:
    page.put(EVIDENCE, (shown.label,), shown.log_evidence)
    for family, shares in zip((INTENDED, ACTUAL), shown.shares, strict=True):
        for variant, share in zip(shown.variants, shares, strict=False):
            if variant is not None:
                page.put(family, (shown.label, variant), share)


def _verdict(experiment: Experiment, state: SplitState, before: CheckState) -> Verdict:
    test = state.test
    suspicion = test.suspicion
    figures = {
        "decisions": float(test.decisions),
        "unjudged": float(state.unjudged),
        "log_evidence": test.log_evidence,
        "p_value_of_one_look": test.chi_square_p,
    }
    least = WARNING_ODDS if before is CheckState.ok else WARNING_ODDS_LEAST
    if test.is_alarmed:
        level, odds = CheckState.alarm, ALARM_ODDS
    elif test.log_evidence >= log(least):
        level, odds = CheckState.warning, least
    else:
        sentence = f"{test.decisions:,} decisions were split as intended, as far as one can tell."
        return Verdict(NAME, CheckState.ok, sentence, figures)
    figures |= {"intended": suspicion.intended, "actual": suspicion.actual}
    sentence = _accusation(experiment, suspicion, _odds(test.log_evidence, odds))
    return Verdict(NAME, level, sentence, figures)


def _odds(log_evidence: float, least: float) -> int:
    """Return the evidence as a power of ten; an alarm keeps the one that raised it."""
    exponent = min(_ODDS_EXPONENT_MAX, floor(log_evidence / log(10.0)))
    return int(max(least, 10.0**exponent))


def _accusation(experiment: Experiment, suspicion: Suspicion, odds: int) -> str:
    ids = dict(enumerate(variant.id for variant in experiment.variants))
    variant = ids.get(suspicion.variant, f"number {suspicion.variant + 1}")
    intended, actual = _percentages(suspicion.intended, suspicion.actual)
    since = ""
    if suspicion.since_hour * HOUR_MS > experiment.created_at_ms:
        at = datetime.fromtimestamp(suspicion.since_hour * HOUR_MS / SECOND_MS, UTC)
        since = f" since {at:%Y-%m-%d %H:%M} UTC"
    return (
        f"Variant {variant} got {actual} of {suspicion.decisions:,} decisions{since} where"
        f" {intended} were intended; chance alone ever shows such a thing in fewer than 1 in"
        f" {odds:,} experiments."
    )


def _percentages(one: float, other: float) -> tuple[str, str]:
    """Return two shares with as many digits as tell them apart."""
    digits = 1
    while digits < _DIGITS_MAX and round(100 * one, digits) == round(100 * other, digits):
        digits += 1
    return f"{100 * one:.{digits}f} %", f"{100 * other:.{digits}f} %"
