"""What the learning page says of each experiment, from what the allocator holds in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from service.allocations.cache import HeldEvidence, Totals
from service.bandits.summaries import entropy_ratio, histogram_quantile
from service.domain.allocation import Publication
from service.domain.clock import SECOND_MS, Clock
from service.domain.evidence import DELAY_EDGES_MS
from service.domain.experiment import Experiment, ExperimentState, VariantState, label_of
from service.metrics import learning
from service.metrics.page import Page

DELAY_QUANTILES = (0.5, 0.9)
_DELAY_EDGES = tuple(edge / SECOND_MS for edge in DELAY_EDGES_MS)
# One that has ended learns nothing, and years of such would crowd out those that do.
_SHOWN = (ExperimentState.RUNNING, ExperimentState.PAUSED)


class Learned(Struct, frozen=True):
    """What an allocator holds of an experiment: how it was configured, and what came of that."""

    experiment: Experiment
    publication: Publication
    evidence: HeldEvidence


class LearningFigures:
    """A writer of the learning page."""

    def __init__(self, learned: Callable[[], Iterable[Learned]], clock: Clock) -> None:
        self._learned = learned
        self._clock = clock

    def __call__(self, page: Page) -> None:
        """Put the figures of all experiments that run or are paused, oldest first."""
        now_ms = self._clock.now_ms()
        for each in self._learned():
            if each.experiment.state in _SHOWN:
                _put_allocation(page, each)
                _put_variants(page, each)
                _put_decisions(page, each, now_ms)


def _put_allocation(page: Page, learned: Learned) -> None:
    label, allocation = label_of(learned.experiment), learned.publication.allocation
    page.put(learning.VERSION, (label,), allocation.version)
    page.put(learning.ALLOCATED, (label,), allocation.created_at_ms / SECOND_MS)
    slots = zip(allocation.slots, allocation.propensities, strict=True)
    active = [p for slot, p in slots if slot.state is VariantState.ACTIVE]
    page.put(learning.ENTROPY, (label,), entropy_ratio(active))


def _put_variants(page: Page, learned: Learned) -> None:
    """Put the figures of each variant that may be sent again; there may be many retired ones."""
    label, publication = label_of(learned.experiment), learned.publication
    allocation, evidence = publication.allocation, publication.evidence
    propensities, n_effective = allocation.propensities, len(evidence.pulls)
    for variant, slot in enumerate(allocation.slots):
        if slot.state is VariantState.RETIRED:
            continue
        labels, totals = (label, slot.id), learned.evidence.totals.get(variant, Totals())
        page.put(learning.PULLS, labels, totals.pulls)
        page.put(learning.REWARDED, labels, totals.conversions)
        page.put(learning.PROPENSITY, labels, propensities[variant])
        if variant < n_effective:
            page.put(learning.EFFECTIVE_PULLS, labels, evidence.pulls[variant])
            page.put(learning.EFFECTIVE_REWARDS, labels, evidence.successes[variant])


def _put_decisions(page: Page, learned: Learned, now_ms: int) -> None:
    label, evidence = label_of(learned.experiment), learned.evidence
    window_ms = learned.experiment.reward.window_seconds * SECOND_MS
    # All before the open ones, and copied: the allocator goes on while this thread looks. What
    # comes in between is then missing from those that are closed, and none is closed too early.
    every = tuple(evidence.totals.values())
    all_pulls = sum(each.pulls for each in every)
    all_conversions = sum(each.conversions for each in every)
    is_open = evidence.since(now_ms - window_ms, now_ms)
    page.put(learning.PENDING, (label,), max(0, is_open.pulls - is_open.conversions))
    closed = all_pulls - is_open.pulls
    if closed > 0:
        converted = min(closed, max(0, all_conversions - is_open.conversions))
        page.put(learning.EXPIRED, (label,), 1 - converted / closed)
    for share in DELAY_QUANTILES:
        delay = histogram_quantile(evidence.delays, _DELAY_EDGES, share)
        page.put(learning.DELAY, (label, f"{share}"), delay)
