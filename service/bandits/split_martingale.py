"""The sequential test of a split: evidence that grows decision by decision, looked at for ever."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import groupby
from math import inf, log, log2
from typing import NamedTuple

import numpy as np

from service.bandits.arrays import FloatArray, IntArray
from service.bandits.sample_ratio import (
    ALARM_ODDS,
    TILTS,
    chi_square_p,
    covariance,
    log_ratios,
)

_LOG_TILTS = log(TILTS.size)


class SplitGroup(NamedTuple):
    """Decisions of one hour that were made with the same propensities.

    Parameters
    ----------
    hour
        Hours since the Unix epoch.
    revision
        Revision of the experiment's configuration that they were made under.
    intended
        The propensity of each variant, sum 1; 0 for those that could not be chosen.
    pulls
        How many got each variant. Variants are only ever added, so a group may know fewer.
    """

    hour: int
    revision: int
    intended: Sequence[float]
    pulls: Sequence[int]


class Suspicion(NamedTuple):
    """What the evidence says most loudly: a variant, and since when.

    Parameters
    ----------
    variant
        Its index.
    since_hour
        The hour from which on the split is best explained as biased.
    decisions
        Decisions since then.
    intended, actual
        The variant's share of them, as meant and as it was.
    """

    variant: int
    since_hour: int
    decisions: int
    intended: float
    actual: float


class SplitMartingale:
    """Test one experiment's split against its own propensities, valid at every look.

    Parameters
    ----------
    first_hour
        The hour, since the Unix epoch, in which the experiment was created.
    n_variants
        How many variants it had at first; later ones join at the end.

    Notes
    -----
    The evidence is the mixture ``E = sum_k pi_k mean_d sum_h w_h L_h(k, d)``, where ``L_h(k, d)``
    is the likelihood ratio of tilt d of variant k (see `log_ratios`) over the decisions of hour h
    and later, 1 before. Which decisions those are is known before their variants are, so every
    term is a non-negative martingale of mean 1 in whatever order decisions arrive, E is one too,
    and by Ville's inequality an honest split ever shows ``E >= 1000`` with probability 0.001 at
    most: without a limit to the number of looks or decisions.

    Starting in every hour finds at once a bias that begins after millions of honest decisions,
    which would outvote it in a test of everything. The weights ``w_i = 1/log2(1 + i) -
    1/log2(2 + i)`` of the hours i = 1, 2, .. sum to 1 and fall so slowly that a start after a
    year costs 14 of log evidence, one in the first hour 1. The recursion ``S <- (S + w) L``
    needs nothing but the newest sums. Half of the weight of variants belongs to the first ones;
    the rest waits for those to come, so that adding variants makes no evidence.

    An alarm stays until E falls below 1 or until the configuration gets a higher revision. The
    latter begins the test anew: whoever changed something wants to know whether it is well now.

    References
    ----------
    Ville, 1939, Etude critique de la notion de collectif.
    Howard, Ramdas, McAuliffe and Sekhon, 2021, Time-uniform, nonparametric, nonasymptotic
    confidence sequences.
    Shin, Ramdas and Rinaldo, 2023, E-detectors: a nonparametric framework for sequential change
    detection.

    Examples
    --------
    >>> test = SplitMartingale(first_hour=0, n_variants=2)
    >>> test.add([SplitGroup(0, 1, (0.5, 0.5), (5_000, 5_000))])
    >>> test.log_evidence < 0.0
    True
    >>> test.add([SplitGroup(1, 1, (0.5, 0.5), (5_000, 4_000))])
    >>> test.is_alarmed, test.suspicion.since_hour
    (True, 1)
    """

    def __init__(self, first_hour: int, n_variants: int) -> None:
        self._n_first = n_variants
        self._alarm_revision: int | None = None
        self._revision = 0  # The highest so far: who heard late of a change still decides by less.
        self._begin(first_hour, n_variants)

    def _begin(self, first_hour: int, n_variants: int) -> None:
        """Forget everything but what the experiment is."""
        shape = (0, TILTS.size)
        self._first_hour = first_hour
        self._started = 0.0  # Sum of the weights of all hours so far.
        self._log_sum: FloatArray = np.zeros(shape)
        # Of every tilt the start that explains most, and what had been counted before it.
        self._log_best: FloatArray = np.zeros(shape)
        self._since: IntArray = np.zeros(shape, np.int64)
        self._actual_before: FloatArray = np.zeros(shape)
        self._intended_before: FloatArray = np.zeros(shape)
        self._decisions_before: FloatArray = np.zeros(shape)
        self._actual: FloatArray = np.zeros(0)
        self._intended: FloatArray = np.zeros(0)
        self._covariance: FloatArray = np.zeros((0, 0))
        self._grow(n_variants, first_hour)

    def copy(self) -> SplitMartingale:
        """Return a test that goes on from here by itself."""
        return copy(self)  # Arrays are replaced, never changed.

    def add(self, groups: Sequence[SplitGroup]) -> None:
        """Take decisions that were not added before.

        Parameters
        ----------
        groups
            In order of hour, and within an hour in order of revision.
        """
        for (hour, revision), some in groupby(groups, lambda group: (group.hour, group.revision)):
            if self._alarm_revision is not None and revision > self._alarm_revision:
                self._alarm_revision = None
                self._begin(hour, self.n_variants)
            self._revision = max(self._revision, revision)
            self._take(hour, *_arrays(tuple(some), self.n_variants))
            log_evidence = self.log_evidence
            if log_evidence >= log(ALARM_ODDS):
                self._alarm_revision = self._revision
            elif log_evidence < 0.0:
                self._alarm_revision = None

    def latch(self, other: SplitMartingale) -> None:
        """Take over the alarm of a test that went on from here."""
        self._alarm_revision = other._alarm_revision

    @property
    def n_variants(self) -> int:
        """How many variants were seen."""
        return self._actual.size

    @property
    def decisions(self) -> int:
        """How many decisions count, since the test began."""
        return int(self._actual.sum())

    @property
    def is_alarmed(self) -> bool:
        """Whether the evidence reached 1,000 and neither fell below 1 nor was answered since."""
        return self._alarm_revision is not None

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence against the intended split; 0 at first."""
        weights = _variant_weights(self._n_first, self.n_variants)
        terms = np.log(weights)[:, None] - _LOG_TILTS + self._log_sum
        # What has not started yet, of variants that are here or to come, stands at 1.
        idle = log(1.0 - float(weights.sum()) * self._started)
        return float(np.logaddexp(np.logaddexp.reduce(terms, axis=None), idle))

    @property
    def chi_square_p(self) -> float:
        """The p-value of all that was added, right if nobody had looked before."""
        return chi_square_p(self._actual - self._intended, self._covariance)

    @property
    def suspicion(self) -> Suspicion:
        """What speaks most against the intended split; of no meaning while evidence is low."""
        weights = _variant_weights(self._n_first, self.n_variants)
        weighted = np.log(weights)[:, None] + self._log_sum
        place = np.unravel_index(int(np.argmax(weighted)), weighted.shape)
        variant = int(place[0])
        decisions = self._actual.sum() - self._decisions_before[place]
        shares = [
            float((now[variant] - before[place]) / max(decisions, 1.0))
            for now, before in (
                (self._intended, self._intended_before),
                (self._actual, self._actual_before),
            )
        ]
        return Suspicion(variant, int(self._since[place]), int(decisions), *shares)

    def _grow(self, n_variants: int, hour: int) -> None:
        """Make room for variants that were never chosen before: their ratios were all 1."""
        more = n_variants - self.n_variants
        if more <= 0:
            return
        decisions = float(self._actual.sum())

        def grown(array: FloatArray, value: float) -> FloatArray:
            return np.concatenate([array, np.full((more, TILTS.size), value)])

        log_started = log(self._started) if self._started else -inf
        self._log_sum = grown(self._log_sum, log_started)
        self._log_best = grown(self._log_best, log_started)
        self._since = np.concatenate([self._since, np.full((more, TILTS.size), hour, np.int64)])
        self._actual_before = grown(self._actual_before, 0.0)
        self._intended_before = grown(self._intended_before, 0.0)
        self._decisions_before = grown(self._decisions_before, decisions)
        self._actual = np.append(self._actual, np.zeros(more))
        self._intended = np.append(self._intended, np.zeros(more))
        self._covariance = np.pad(self._covariance, (0, more))

    def _take(self, hour: int, intended: FloatArray, pulls: FloatArray) -> None:
        """Add the decisions of one hour and revision."""
        self._grow(intended.shape[1], hour)
        self._start(hour)
        ratios = log_ratios(intended, pulls).sum(axis=0)
        self._log_sum = self._log_sum + ratios
        self._log_best = self._log_best + ratios
        decisions = pulls.sum(axis=1)
        self._actual = self._actual + pulls.sum(axis=0)
        self._intended = self._intended + decisions @ intended
        self._covariance = self._covariance + covariance(intended, decisions)

    def _start(self, hour: int) -> None:
        """Begin a test in this hour, with the weight of the hours without decisions before it."""
        # A clock that was behind when it decided cannot have been before the experiment.
        index = max(1, hour - self._first_hour + 1)
        started = 1.0 - 1.0 / log2(2 + index)
        gain = started - self._started
        if gain <= 0.0:
            return
        self._started = started
        self._log_sum = np.logaddexp(self._log_sum, log(gain))
        is_better = log(gain) > self._log_best
        self._log_best = np.where(is_better, log(gain), self._log_best)
        self._since = np.where(is_better, hour, self._since)
        self._actual_before = np.where(is_better, self._actual[:, None], self._actual_before)
        self._intended_before = np.where(is_better, self._intended[:, None], self._intended_before)
        self._decisions_before = np.where(is_better, self._actual.sum(), self._decisions_before)


def _arrays(groups: Sequence[SplitGroup], n_variants: int) -> tuple[FloatArray, FloatArray]:
    """Return propensities and pulls of groups, with zeros for variants they do not know."""
    width = max([n_variants, *(len(group.pulls) for group in groups)])
    intended, pulls = np.zeros((2, len(groups), width))
    for row, group in enumerate(groups):
        intended[row, : len(group.intended)] = group.intended
        pulls[row, : len(group.pulls)] = group.pulls
    return intended, pulls


def _variant_weights(n_first: int, n_variants: int) -> FloatArray:
    """Return the weight of each variant: half for the first ones, the rest for later ones."""
    later = np.arange(1, n_variants - n_first + 1)
    return np.append(np.full(n_first, 0.5 / n_first), 0.5 / (later * (later + 1)))
