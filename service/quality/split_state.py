"""What is held of an experiment to judge its split: settled hours, and those still counted in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from service.bandits.split_martingale import SplitGroup, SplitMartingale
from service.domain.split import SplitKey

OPEN_HOURS = 2  # This one and the one before; what comes later than that is rare, and read anew.
RECENT_HOURS = 24

Pulls = Mapping[SplitKey, int]


class Intent(NamedTuple):
    """What one allocation meant for those who were eligible: all that is kept of it.

    An experiment that learns fast has tens of thousands of allocations in its open hours.
    """

    revision: int  # Of the experiment's configuration.
    shares: tuple[float, ...]


Intents = Mapping[tuple[int, str], Intent]  # By version and eligible variants, as keys spell them.


class Shares(NamedTuple):
    """How decisions were to be split, and how they were, by variant; empty without decisions."""

    intended: tuple[float, ...] = ()
    actual: tuple[float, ...] = ()


class SplitState:
    """The test of one experiment, which comes out the same whenever its counts are read anew.

    But for one thing: an alarm that is raised and whose evidence is gone within the same hour.
    """

    def __init__(self, first_hour: int, n_variants: int) -> None:
        self._settled = SplitMartingale(first_hour, n_variants)
        self._open: dict[SplitKey, int] = {}
        self._recent: dict[int, list[SplitGroup]] = {}
        self._unjudged = 0
        self.open_from = 0  # Hours before it are in `_settled`.
        self.test = self._settled
        self.unjudged = 0  # Decisions whose allocation SQL does not know.

    def has_settled(self, keys: Iterable[SplitKey]) -> bool:
        """Whether some of these belong to hours that were taken for complete."""
        return any(key.hour < self.open_from for key in keys)

    def wanted(self) -> set[tuple[int, str]]:
        """Return what the open counts were made under: versions and eligible variants."""
        return {(key.version, key.eligible) for key in self._open}

    def take(self, pulls: Pulls, intents: Intents, now_hour: int) -> None:
        """Replace counts, settle the hours that are over, and test what there is."""
        self._open.update(pulls)
        until = max(self.open_from, now_hour - OPEN_HOURS + 1)
        over = {key: count for key, count in self._open.items() if key.hour < until}
        self._forget(self.open_from, now_hour - RECENT_HOURS)
        self._open = {key: count for key, count in self._open.items() if key.hour >= until}
        self.open_from = until
        groups, unjudged = grouped(over, intents)
        self._settled.add(groups)
        self._unjudged += unjudged
        self._remember(groups, now_hour)
        groups, unjudged = grouped(self._open, intents)
        self.test = self._settled.copy()
        self.test.add(groups)
        self.unjudged = self._unjudged + unjudged
        self._remember(groups, now_hour)
        self._settled.latch(self.test)

    def _forget(self, open_from: int, old_until: int) -> None:
        """Drop what is too old of the last day, and what was open and is counted anew."""
        kept = {h: groups for h, groups in self._recent.items() if old_until < h < open_from}
        self._recent = kept

    def _remember(self, groups: Sequence[SplitGroup], now_hour: int) -> None:
        for hour, some in groupby(groups, lambda group: group.hour):
            if hour > now_hour - RECENT_HOURS:
                self._recent[hour] = [_summed(tuple(some))]

    def recent(self) -> Shares:
        """Return the shares of the last day."""
        groups = [group for some in self._recent.values() for group in some]
        if not groups:
            return Shares()
        summed = _summed(groups)
        decisions = sum(summed.pulls)
        return Shares(tuple(summed.intended), tuple(pulls / decisions for pulls in summed.pulls))


def grouped(pulls: Pulls, intents: Intents) -> tuple[list[SplitGroup], int]:
    """Return counts with their propensities in order, and how many decisions have none known."""
    groups, unjudged = [], 0
    for (hour, version, eligible), keys in groupby(sorted(pulls), lambda key: key[1:4]):
        counts = {key.variant: pulls[key] for key in keys}
        intent = intents.get((version, eligible))
        if intent is None or not any(intent.shares):
            unjudged += sum(counts.values())
            continue
        width = max(len(intent.shares), *(variant + 1 for variant in counts))
        sent = [counts.get(variant, 0) for variant in range(width)]
        groups.append(SplitGroup(hour, intent.revision, intent.shares, sent))
    return groups, unjudged


def _summed(groups: Sequence[SplitGroup]) -> SplitGroup:
    """Return groups as one of their hour: counts added, propensities by how often they held."""
    width = max(len(group.pulls) for group in groups)
    pulls, intended = [0] * width, [0.0] * width
    for group in groups:
        decisions = sum(group.pulls)
        for variant, count in enumerate(group.pulls):
            pulls[variant] += count
        for variant, share in enumerate(group.intended):
            intended[variant] += decisions * share
    total = sum(pulls)
    shares = [number / total for number in intended]
    return SplitGroup(groups[0].hour, groups[0].revision, shares, pulls)
