"""What the service promises, in plain Python: told answers, replay memory, ledger and evidence."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from service.domain.allocation import Allocation
from service.domain.clock import DAY_MS, HOUR_MS
from service.domain.experiment import ExperimentState, HoldoutKind, VariantState

DAYS_RESTORED_MS = 2 * DAY_MS + HOUR_MS


class Told(NamedTuple):
    """A decision as its caller was told."""

    id: str
    key: bytes
    tenant: int
    experiment: int
    variant: int
    version: int
    at_ms: int
    propensity: float
    holdout: bool
    source: str

    @property
    def is_counted(self) -> bool:
        """Whether it is evidence."""
        return self.source in {"policy", "fallback"}

    def is_again(self, earlier: Told) -> bool:
        """Whether it is an earlier answer; one may be known as given without Redis and with."""
        is_alike = self.is_counted == earlier.is_counted
        return is_alike and self == earlier._replace(source=self.source)

    @property
    def answer(self) -> tuple[bytes, int, int, int]:
        """What makes it another answer than another one of its key."""
        return self.key, self.variant, self.version, self.at_ms


class Credit(NamedTuple):
    """A reward as it was taken."""

    key: bytes
    event: str
    event_id: str
    experiment: int
    variant: int
    decided_at_ms: int
    status: str
    converts: bool

    @property
    def name(self) -> tuple[bytes, str, str]:
        """By what it is unique."""
        return self.key, self.event, self.event_id


Entry = Told | Credit
Measures = tuple[int, int, dict[str, int]]  # Pulls, conversions, counts by event.


class Unknown:
    """An answer that Redis remembers and nobody was told."""


UNKNOWN = Unknown()


class MemoryModel:
    """The replay memory: a day is looked up with the one before it, and soon with the next."""

    def __init__(self) -> None:
        self.days: dict[int, dict[bytes, Told | Unknown]] = {}

    def earlier(self, key: bytes, now_ms: int) -> Told | Unknown | None:
        """Return what stands for a key."""
        day = now_ms // DAY_MS
        self.days = {d: held for d, held in self.days.items() if d >= day - 1}
        in_turn = day - 1, (now_ms + HOUR_MS) // DAY_MS, day
        held = (self.days.get(each, {}).get(key) for each in in_turn)
        return next((told for told in held if told is not None), None)

    def remember(self, key: bytes, told: Told | Unknown, now_ms: int) -> None:
        """Keep an answer unless there is one."""
        if self.earlier(key, now_ms) is None:
            self.days.setdefault(now_ms // DAY_MS, {})[key] = told

    def restore(self, rows: list[Told], now_ms: int) -> None:
        """Write the ledger's rows of the last two days over what is there."""
        recent = [row for row in rows if row.at_ms >= now_ms - DAYS_RESTORED_MS]
        for row in sorted(recent, key=lambda each: (each.at_ms, each.key), reverse=True):
            self.write(row)

    def write(self, row: Told) -> None:
        """Write one row over what is there."""
        day = row.at_ms // DAY_MS
        self.days.setdefault(day, {})[row.key] = row
        for other in (day - 1, day + 1):
            self.days.get(other, {}).pop(row.key, None)


@dataclass
class LedgerModel:
    """The first row of a key counts; other answers are kept beside; rewards count once."""

    firsts: dict[bytes, Told] = field(default_factory=dict)
    beside: set[tuple[bytes, int, int, int]] = field(default_factory=set)
    credits: dict[tuple[bytes, str, str], Credit] = field(default_factory=dict)

    def take(self, entry: Entry) -> str:
        """Commit an entry; return what a reward is told."""
        if isinstance(entry, Credit):
            is_new = entry.name not in self.credits
            status = self.credits.setdefault(entry.name, entry).status
            return status if is_new or status == "late" else "duplicate"
        first = self.firsts.setdefault(entry.key, entry)
        if first.answer != entry.answer:
            self.beside.add(entry.answer)
        return ""

    def evidence(self) -> dict[tuple[int, int, int], Measures]:
        """Count everything anew: by experiment, variant and hour of the decision."""
        pulls: dict[tuple[int, int, int], int] = defaultdict(int)
        conversions: dict[tuple[int, int, int], int] = defaultdict(int)
        events: dict[tuple[int, int, int], dict[str, int]] = defaultdict(dict)
        for row in self.firsts.values():
            if row.is_counted:
                pulls[row.experiment, row.variant, row.at_ms // HOUR_MS] += 1
        converted: set[bytes] = set()
        for each in self.credits.values():
            if each.status != "accepted":
                continue
            place = each.experiment, each.variant, each.decided_at_ms // HOUR_MS
            events[place][each.event] = events[place].get(each.event, 0) + 1
            if each.converts and each.key not in converted:
                converted.add(each.key)
                conversions[place] += 1
        places = {*pulls, *events}
        return {p: (pulls.get(p, 0), conversions.get(p, 0), events.get(p, {})) for p in places}


@dataclass
class DrainModel:
    """The outbox files, and how far each has been committed."""

    files: dict[str, list[Entry]] = field(default_factory=dict)
    at: dict[str, int] = field(default_factory=dict)

    def passed(self, name: str, position: int) -> list[Entry]:
        """Return what was committed since the last look, now that SQL is at a position."""
        start = self.at.get(name, 0)
        assert position >= start
        self.at[name] = position
        return self.files[name][start:position]

    @property
    def is_empty(self) -> bool:
        """Whether everything is committed."""
        return all(self.at.get(name, 0) == len(entries) for name, entries in self.files.items())


def check_explained(allocation: Allocation, told: Told, eligible: tuple[int, ...] | None) -> None:
    """Fail unless an answer is one that this allocation gives, with this probability."""
    states = [slot.state for slot in allocation.slots]
    active = [i for i, state in enumerate(states) if state is VariantState.ACTIVE]
    assert 0.0 < told.propensity <= 1.0
    if told.source == "forced":
        assert (told.propensity, told.holdout) == (1.0, False)
        assert states[told.variant] is not VariantState.RETIRED
        return
    if allocation.state is not ExperimentState.RUNNING or not active:
        assert (told.variant, told.propensity) == (allocation.control, 1.0)
        assert (told.source, told.holdout) == ("inactive", False)
        return
    assert told.source in {"policy", "fallback"}
    among = active if eligible is None else [i for i in active if i in eligible]
    assert told.variant in among
    assert not told.holdout or allocation.holdout.share > 0.0
    assert told.holdout or allocation.holdout.share < 1.0
    assert told.propensity == _propensity(allocation, told, among)


def _propensity(allocation: Allocation, told: Told, among: list[int]) -> float:
    if told.holdout and allocation.holdout.kind is HoldoutKind.CONTROL:
        if allocation.control in among:
            return float(told.variant == allocation.control)
        return 1 / len(among)
    weights = [allocation.weights[i] for i in among]
    if told.holdout or not any(weights):
        return 1 / len(among)
    return allocation.weights[told.variant] / sum(weights)
