"""Evidence held in memory: of an experiment only what changed is read again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from service.bandits import arms
from service.domain.allocation import EffectiveEvidence
from service.domain.clock import HOUR_MS, SECOND_MS
from service.domain.evidence import DELAY_EDGES_MS, Bucket, is_of_another_state
from service.domain.experiment import Experiment
from service.store.ports import Ledger

HOUR_SECONDS = HOUR_MS // SECOND_MS


@dataclass(slots=True)
class Totals:
    """What all hours of one variant add up to."""

    pulls: int = 0
    conversions: int = 0
    value_micros: int = 0

    def move(self, before: Bucket, after: Bucket) -> None:
        """Count a bucket as it is now, and not as it was.

        Each number moves in one step: who reads them on another thread never sees one go down.
        """
        self.pulls += after.pulls - before.pulls
        self.conversions += after.conversions - before.conversions
        self.value_micros += after.value_micros - before.value_micros


@dataclass(slots=True)
class HeldEvidence:
    """The buckets of one experiment and their sums, as of a revision of its evidence."""

    revision: int = 0
    totals: dict[int, Totals] = field(default_factory=dict)
    delays: list[int] = field(default_factory=lambda: [0] * (len(DELAY_EDGES_MS) + 1))
    _hours: dict[int, Totals] = field(default_factory=dict)
    _buckets: dict[tuple[str, int, int], Bucket] = field(default_factory=dict)

    def replace(self, buckets: Iterable[Bucket], revision: int) -> None:
        """Take whole buckets in place of the ones held."""
        for bucket in buckets:
            key = (bucket.key.segment, bucket.key.variant, bucket.key.hour)
            held = self._buckets.get(key) or Bucket(bucket.key)
            self.totals.setdefault(bucket.key.variant, Totals()).move(held, bucket)
            self._hours.setdefault(bucket.key.hour, Totals()).move(held, bucket)
            for delay in held.delays.keys() | bucket.delays:
                self.delays[delay] += bucket.delays.get(delay, 0) - held.delays.get(delay, 0)
            self._buckets[key] = bucket
        self.revision = revision

    def since(self, from_ms: int, now_ms: int) -> Totals:
        """Return the sums of the hours that end after a time, to that of the newest decision."""
        total, nothing = Totals(), Totals()
        # A clock that is ahead may have put decisions into the hour to come.
        for hour in range(from_ms // HOUR_MS, now_ms // HOUR_MS + 2):
            found = self._hours.get(hour, nothing)
            total.pulls += found.pulls
            total.conversions += found.conversions
            total.value_micros += found.value_micros
        return total

    def effective(self, experiment: Experiment, now_ms: int) -> EffectiveEvidence:
        """Return the evidence as it counts now, one number per variant."""
        half_life = experiment.evidence.half_life_seconds
        if half_life is None:
            counts = self._plain(len(experiment.variants))
        else:
            n_variants = len(experiment.variants)
            counts = arms.effective_counts(
                self._rows(n_variants), n_variants, now_ms / HOUR_MS, half_life / HOUR_SECONDS
            )
        return EffectiveEvidence(self.revision, counts.pulls, counts.successes)

    def _plain(self, n_variants: int) -> arms.Counts:
        totals = [self.totals.get(variant, Totals()) for variant in range(n_variants)]
        return arms.Counts(
            tuple(float(each.pulls) for each in totals),
            tuple(float(each.conversions) for each in totals),
        )

    def _rows(self, n_variants: int) -> list[tuple[int, int, int, int]]:
        """Return the rows of the variants that a configuration knows; evidence may be newer."""
        return [
            (variant, hour, bucket.pulls, bucket.conversions)
            for (_, variant, hour), bucket in self._buckets.items()
            if variant < n_variants
        ]


class EvidenceCache:
    """The evidence of every experiment that was asked for."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._held: dict[int, HeldEvidence] = {}

    async def current(self, experiment: int) -> HeldEvidence:
        """Return the newest evidence, reading the buckets that changed since the last time.

        What is held of a state that SQL went back behind is dropped.
        """
        held = self._held.setdefault(experiment, HeldEvidence())
        change = await self._ledger.evidence(experiment, held.revision)
        if held.revision and is_of_another_state(held.revision, change.revision):
            change = await self._ledger.evidence(experiment)
            held = self._held[experiment] = HeldEvidence()
        # Two readers may be under way: buckets come whole, so only the newer answer counts.
        if change.revision > held.revision:
            held.replace(change.buckets, change.revision)
        return held

    def held(self, experiment: int) -> HeldEvidence:
        """Return what is held of an experiment, without reading anything."""
        return self._held.get(experiment) or HeldEvidence()

    def revision(self, experiment: int) -> int:
        """Return the evidence revision held of an experiment, 0 when none is."""
        held = self._held.get(experiment)
        return 0 if held is None else held.revision
