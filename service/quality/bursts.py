"""Whether too many of the newest rewards are repeated, belong to nothing, or are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from service.bandits.bursts import Burst, burst
from service.domain.experiment import Experiment
from service.domain.quality import Outcome
from service.domain.reward import MICROS
from service.quality.past import Past, PastReader
from service.quality.verdicts import CheckState, Verdict
from service.quality.words import count, percent

# The hour of now and the one before it, where so many rewards came in them; or else a day.
ENOUGH = 100
NEWEST_HOURS = 2
DAY_HOURS = 24
GUARD_HOURS = 24  # Of the day before now nothing is learned: a burst would hide its own end.
WARNING_PROBABILITY = 1e-4
ALARM_PROBABILITY = 1e-6
WARNING_COUNT_MIN = 10  # Fewer bad ones are never a burst.
ALARM_COUNT_MIN = 30
EXCESS_MIN = 0.05  # So much above the usual share, or it is not worth a word.
# A value so many times the largest of the weeks before.
LARGE_WARNING = 10.0
LARGE_ALARM = 100.0
VALUES_KNOWN_MIN = 200  # So many accepted ones tell what is large.
KIND_VALUE = "value"
Pair = tuple[int, int]  # Bad ones, and how many they are among.
TAKEN = (Outcome.accepted, Outcome.duplicate, Outcome.ignored, Outcome.late, Outcome.queued)


class Kind(Struct, frozen=True):
    """What is counted as bad, among what, and how that is said."""

    name: str
    bad: Outcome
    among: tuple[Outcome, ...]
    prior_share: float
    is_what: str
    meaning: str


DUPLICATES = Kind(
    name="duplicates",
    bad=Outcome.duplicate,
    among=TAKEN,
    prior_share=0.05,
    is_what="had been reported before",
    meaning="Each counts once; whoever reports them repeats itself.",
)
ORPHANS = Kind(
    name="orphans",
    bad=Outcome.orphan,
    among=(Outcome.found, Outcome.orphan),
    prior_share=0.01,
    is_what="are of decisions that are not in the ledger ten minutes later",
    meaning="An outbox may not be drained, or its disk was lost.",
)
VALUES = Kind(
    name="values",
    bad=Outcome.invalid,
    among=(*TAKEN, Outcome.invalid),
    prior_share=0.01,
    is_what="were refused, as their value or time cannot be",
    meaning="They are answered 422 and do not count.",
)


class BurstCheck:
    """Compares the share of bad ones among the newest rewards with every hour before."""

    def __init__(self, kind: Kind, reader: PastReader) -> None:
        self.name = kind.name
        self._kind = kind
        self._reader = reader

    async def judge(self, experiment: Experiment, now_ms: int) -> Verdict:
        """Return the verdict of now."""
        past = await self._reader.past(experiment, now_ms)
        of_hours = {
            hour: (past.count(hour, (self._kind.bad,)), past.count(hour, self._kind.among))
            for hour in past.hours
        }
        history = [pair for hour, pair in of_hours.items() if hour < past.hour - GUARD_HOURS]
        newest, words = _newest(of_hours, past.hour)
        return self._of_stretch(newest, history, words)

    def _of_stretch(self, newest: Sequence[Pair], history: Sequence[Pair], words: str) -> Verdict:
        bad, total = sum(pair[0] for pair in newest), sum(pair[1] for pair in newest)
        found = burst(bad, total, history, self._kind.prior_share)
        figures = {
            "bad": float(bad),
            "total": float(total),
            "share": found.share,
            "usual_share": found.usual,
            "probability": found.probability,
        }
        if not total:
            return Verdict(self.name, CheckState.ok, f"No reward came in {words}.")
        of_all = f"{count(bad)} of the {count(total)} rewards of {words}"
        sentence = f"{of_all} {self._kind.is_what} ({percent(found.share)})"
        state = _state(found, bad)
        if state is CheckState.ok:
            return Verdict(self.name, state, f"{sentence}, which is nothing unusual.", figures)
        usual = f"usually it is {percent(found.usual)}"
        return Verdict(self.name, state, f"{sentence}; {usual}. {self._kind.meaning}", figures)


def _newest(of_hours: Mapping[int, Pair], now: int) -> tuple[list[Pair], str]:
    """Return the stretch that is judged, and what it is called."""
    two, day = (
        [pair for hour, pair in of_hours.items() if hour > now - hours]
        for hours in (NEWEST_HOURS, DAY_HOURS)
    )
    is_enough = sum(total for _, total in two) >= ENOUGH
    return (two, "the last two hours") if is_enough else (day, "the last day")


class ValuesCheck:
    """Looks for refused values, and for accepted ones unlike any before."""

    name = "values"

    def __init__(self, reader: PastReader) -> None:
        self._reader = reader
        self._refused = BurstCheck(VALUES, reader)

    async def judge(self, experiment: Experiment, now_ms: int) -> Verdict:
        """Return the worse of the verdicts of now."""
        refused = await self._refused.judge(experiment, now_ms)
        if experiment.reward.kind != KIND_VALUE:
            return refused  # The values of events are fixed: what is accepted is right.
        accepted = _accepted(await self._reader.past(experiment, now_ms))
        return refused if accepted is None or accepted.state < refused.state else accepted


def _state(found: Burst, bad: int) -> CheckState:
    if found.share < found.usual + EXCESS_MIN:
        return CheckState.ok
    if found.probability < ALARM_PROBABILITY and bad >= ALARM_COUNT_MIN:
        return CheckState.alarm
    if found.probability < WARNING_PROBABILITY and bad >= WARNING_COUNT_MIN:
        return CheckState.warning
    return CheckState.ok


def _accepted(past: Past) -> Verdict | None:
    """Return what is wrong with accepted values, or None; one that is wrong spoils every mean."""
    accepted = past.accepted()
    newest = [tally for hour, tally in accepted.items() if hour > past.hour - NEWEST_HOURS]
    before = [tally for hour, tally in accepted.items() if hour <= past.hour - NEWEST_HOURS]
    if not newest or sum(tally.count for tally in before) < VALUES_KNOWN_MIN:
        return None
    largest, usual = (max(t.largest_micros for t in group) for group in (newest, before))
    smallest, least = (min(t.smallest_micros for t in group) for group in (newest, before))
    times = largest / usual if usual > 0 else 0.0
    figures = {
        "largest": largest / MICROS,
        "largest_before": usual / MICROS,
        "smallest": smallest / MICROS,
    }
    if smallest < 0 <= least:
        sentence = "A reward of the last two hours has a negative value, and none had one before."
        return Verdict("values", CheckState.alarm, sentence, figures)
    if times < LARGE_WARNING:
        return None
    state = CheckState.alarm if times >= LARGE_ALARM else CheckState.warning
    sentence = (
        f"A reward of the last two hours is worth {count(times)} times as much as the largest of "
        "the weeks before."
    )
    return Verdict("values", state, sentence, figures)
