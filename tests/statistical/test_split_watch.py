"""The split's test on simulated traffic: silent on honest samplers, loud on biased ones.

The propensities are those of the real policies on the visit rates of Hillstrom's e-mail test,
recomputed every 2,000 decisions, which are 20,000 an hour; the evidence is looked at as often.

No test can find everything: a variant that gets 1 % of the traffic and should get 3 % more of it
differs by 5e-6 of log likelihood a decision, of which 400,000 give 1.8 where an alarm needs 7 and
the choice among variants, tilts and hours about 6 more. So the biased sampler of adaptive traffic
favours the leader, and every variant has its turn where all get an even share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice

import numpy as np
import pytest

from service.bandits.arms import Counts, allocated_weights
from service.bandits.arrays import FloatArray
from service.bandits.split_martingale import SplitGroup, SplitMartingale

pytestmark = pytest.mark.statistical

VISIT_RATES = np.array([0.182757, 0.1514, 0.106167])
WAVE = 2_000
WAVES_AN_HOUR = 10
FLOOR = 0.01

Sampler = Callable[[FloatArray], FloatArray]


def honest(intended: FloatArray) -> FloatArray:
    return intended


def favouring(variant: int) -> Sampler:
    """Return a sampler that gives a variant 3 % more than intended, at the cost of the others."""

    def sampler(intended: FloatArray) -> FloatArray:
        share = min(1.0, 1.03 * intended[variant])
        actual: FloatArray = intended * (1.0 - share) / (1.0 - intended[variant])
        actual[variant] = share
        return actual

    return sampler


def traffic(
    policy: str, sampler: Sampler, seed: int, *, honest_decisions: int = 0
) -> Iterator[SplitGroup]:
    """Yield waves of decisions, each under the allocation of all visits before it."""
    rng = np.random.default_rng(seed)
    pulls, visits = np.zeros((2, VISIT_RATES.size))
    for wave in count():
        counts = Counts(tuple(pulls), tuple(visits))
        weights = np.array(allocated_weights(policy, {}, counts, FLOOR), dtype=np.float64)
        intended = weights / weights.sum()
        is_honest = wave * WAVE < honest_decisions
        sent = rng.multinomial(WAVE, intended if is_honest else sampler(intended))
        pulls += sent
        visits += rng.binomial(sent, VISIT_RATES)
        yield SplitGroup(wave // WAVES_AN_HOUR, 1, intended.tolist(), sent.tolist())


def alarm_after(waves: Iterator[SplitGroup], decisions: int) -> int | None:
    """Return after how many decisions the alarm was raised, or None."""
    test = SplitMartingale(first_hour=0, n_variants=VISIT_RATES.size)
    for wave in islice(waves, decisions // WAVE):
        test.add([wave])
        if test.is_alarmed:
            return test.decisions
    return None


def test_a_million_honest_decisions_of_thompson_sampling_raise_no_alarm() -> None:
    """Chance alone fails one seed of 1,000 at most, by Ville's inequality; of 300 none did."""
    assert alarm_after(traffic("thompson", honest, seed=4), 1_000_000) is None


def test_a_sampler_that_favours_the_leader_raises_an_alarm() -> None:
    """Chance alone fails it with less than one seed of 300: of 300 none took over 20,000."""
    found = alarm_after(traffic("thompson", favouring(0), seed=4), 400_000)

    assert found is not None


@pytest.mark.parametrize("variant", range(3))
def test_a_sampler_that_favours_a_variant_of_an_even_split_raises_an_alarm(variant: int) -> None:
    """Chance alone fails it with less than one seed of 300: of 300 none took over 200,000."""
    found = alarm_after(traffic("uniform", favouring(variant), seed=4), 400_000)

    assert found is not None


@pytest.mark.parametrize("policy", ["thompson", "uniform"])
def test_a_bias_that_begins_after_a_million_honest_decisions_is_found_as_soon(policy: str) -> None:
    """Chance alone fails it with less than one seed of 100: of 100 none took over 250,000."""
    waves = traffic(policy, favouring(0), seed=4, honest_decisions=1_000_000)

    found = alarm_after(waves, 1_400_000)

    assert found is not None
    assert found > 1_000_000
