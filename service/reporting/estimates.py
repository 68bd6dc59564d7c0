"""What the evidence says of each variant: raw totals, intervals, and which one is best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from service.bandits.arrays import FloatArray
from service.bandits.decay import BucketArrays, effective_evidence
from service.bandits.posteriors import beta_best, credible_interval
from service.bandits.registry import make_policy
from service.domain.clock import HOUR_MS
from service.domain.evidence import Bucket
from service.domain.experiment import Experiment, PolicySpec
from service.domain.reward import MICROS

INTERVAL_LEVEL = 0.95
_HOUR_SECONDS = 3_600
_PRIOR_UNIFORM = (1.0, 1.0)


class Totals(msgspec.Struct):
    """Hold the raw sums of one variant over all its life."""

    pulls: int = 0
    rewards: int = 0
    value_micros: int = 0
    events: dict[str, int] = {}

    @property
    def value(self) -> float:
        """The sum of the values of all events."""
        return self.value_micros / MICROS

    @property
    def rate(self) -> float | None:
        """Converted decisions per decision; above 1 while decisions wait in an outbox."""
        return self.rewards / self.pulls if self.pulls else None


class Estimates(msgspec.Struct, frozen=True):
    """Hold the estimates of all variants, in index order; None where not active."""

    ci_low: list[float]
    ci_high: list[float]
    p_best: list[float | None]
    expected_loss: list[float | None]
    effective_pulls: list[float]
    effective_rewards: list[float]


def totals_of(buckets: Iterable[Bucket], n_variants: int) -> list[Totals]:
    """Add the buckets of each variant.

    Parameters
    ----------
    buckets
        Evidence of one experiment, in any order.
    n_variants
        How many variants it has ever had; none of the buckets names another one.
    """
    totals = [Totals() for _ in range(n_variants)]
    for bucket in buckets:
        total = totals[bucket.key.variant]
        total.pulls += bucket.pulls
        total.rewards += bucket.conversions
        total.value_micros += bucket.value_micros
        total.events = dict(Counter(total.events) + Counter(bucket.events))
    return totals


def prior_of(policy: PolicySpec) -> tuple[float, float]:
    """Return the Beta prior of a policy, the uniform one where it has none.

    Parameters
    ----------
    policy
        As configured; parameters that were left out have the registry's defaults.
    """
    if not {"alpha", "beta"} & policy.parameters.keys():
        return _PRIOR_UNIFORM
    made = make_policy(policy.name, policy.parameters)
    return float(getattr(made, "alpha", 1.0)), float(getattr(made, "beta", 1.0))


def estimates_of(
    experiment: Experiment,
    buckets: Sequence[Bucket],
    totals: Sequence[Totals],
    now_ms: int,
) -> Estimates:
    """Estimate each variant's rate, and compare the active ones.

    Parameters
    ----------
    experiment
        The configuration: prior, half-life, and which variants are active.
    buckets, totals
        The evidence, and its raw sums per variant.
    now_ms
        The time from which evidence has its age.

    Notes
    -----
    The interval is that of ``Beta(a + s, b + max(0, n - s))`` on raw totals; P(best) and the
    expected loss are of the same form on effective counts. A reward may reach the ledger before
    its decision, so s > n must not break anything.
    """
    alpha, beta = prior_of(experiment.policy)
    pulls = np.array([t.pulls for t in totals], dtype=np.float64)
    rewards = np.array([max(0, t.rewards) for t in totals], dtype=np.float64)
    low, high = credible_interval(
        alpha + rewards, beta + np.maximum(0.0, pulls - rewards), INTERVAL_LEVEL
    )
    effective = effective_evidence(
        _columns(buckets), len(totals), now_ms / HOUR_MS, _half_life_hours(experiment)
    )
    shapes = (
        alpha + effective.successes,
        beta + np.maximum(0.0, effective.pulls - effective.successes),
    )
    p_best, loss = _comparison(shapes, experiment.active)
    return Estimates(
        low.tolist(),
        high.tolist(),
        p_best,
        loss,
        effective.pulls.tolist(),
        effective.successes.tolist(),
    )


def _columns(buckets: Sequence[Bucket]) -> BucketArrays:
    return BucketArrays(
        arm=np.array([b.key.variant for b in buckets], dtype=np.int64),
        hour=np.array([b.key.hour for b in buckets], dtype=np.int64),
        pulls=np.array([b.pulls for b in buckets], dtype=np.float64),
        conversions=np.array([b.conversions for b in buckets], dtype=np.float64),
    )


def _half_life_hours(experiment: Experiment) -> float | None:
    seconds = experiment.evidence.half_life_seconds
    return None if seconds is None else seconds / _HOUR_SECONDS


def _comparison(
    shapes: tuple[FloatArray, FloatArray], active: Sequence[int]
) -> tuple[list[float | None], list[float | None]]:
    p_best: list[float | None] = [None] * shapes[0].size
    loss: list[float | None] = [None] * shapes[0].size
    if active:
        indices = list(active)
        best = beta_best(shapes[0][indices], shapes[1][indices])
        for place, index in enumerate(indices):
            p_best[index] = float(best.p_best[place])
            loss[index] = float(best.expected_loss[place])
    return p_best, loss
