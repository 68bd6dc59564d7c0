"""Traffic of an e-mail campaign by the hour: sends by day and week, delayed conversions, a mix."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.bandits.arrays import FloatArray
from service.bandits.hours import Grid
from service.domain.clock import HOUR_MS
from service.domain.evidence import DELAY_EDGES_MS

EDGES = np.array(DELAY_EDGES_MS) / HOUR_MS
BINS = len(EDGES) + 1
VARIANTS = 3


@dataclass
class Traffic:
    """Healthy traffic, unless something is done to it.

    Sends follow the day, the week and chance; rates differ by day and by hour (coefficients of
    variation of 12 and 8 %), conversions take hours (log-normal, with a median of 3), fewer happen
    at night, and the mix moves to other variants as a policy would move it.
    """

    rng: np.random.Generator
    days: int
    sends_a_day: float
    rate: float = 0.03
    factors: FloatArray = field(init=False)  # What conversions of an hour are thinned by.
    pulls: FloatArray = field(init=False)
    variant: NDArray[np.int64] = field(init=False)
    decided: FloatArray = field(init=False)
    delay: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        """Draw all of it."""
        hours = self.days * 24
        clock = np.arange(hours)
        shape = 1.0 + 0.9 * np.sin((clock % 24 - 9.0) / 24.0 * 2.0 * np.pi)
        week = np.where(clock // 24 % 7 >= 5, 0.4, 1.0)
        chance = self.rng.gamma(8.0, 1.0 / 8.0, hours)
        volume = self.sends_a_day / 24.0 * shape * week * chance
        self.pulls = self.rng.poisson(volume * self._shares(hours)).astype(float)
        rates = self.rate * np.array([[1.0], [0.8], [1.15]]) * self._moods(hours)
        self._convert(rates)

    def _shares(self, hours: int) -> FloatArray:
        """Return a mix that goes its way from even to nearly all for one, now and then jumping."""
        steps = self.rng.normal(0.0, 0.12, (VARIANTS, hours))
        steps += np.array([[0.0], [-0.01], [0.01]])
        steps *= 1.0 + 8.0 * (self.rng.random(hours) < 0.01)
        scores = np.clip(np.cumsum(steps, axis=1), -4.0, 4.0)
        weights = np.exp(scores)
        shares: FloatArray = weights / weights.sum(axis=0)
        return shares

    def _moods(self, hours: int) -> FloatArray:
        days = np.repeat(self.rng.gamma(1 / 0.12**2, 0.12**2, self.days), 24)
        mood: FloatArray = days * self.rng.gamma(1 / 0.08**2, 0.08**2, hours)
        return mood

    def _convert(self, rates: FloatArray) -> None:
        counts = self.rng.binomial(self.pulls.astype(int), np.minimum(1.0, rates))
        variant, hour = np.nonzero(counts)
        times = counts[variant, hour]
        self.variant = np.repeat(variant, times)
        self.decided = np.repeat(hour, times) + self.rng.random(times.sum())
        self.delay = self.rng.lognormal(np.log(3.0), 1.3, times.sum())
        clock = (self.decided + self.delay) % 24
        asleep = (clock < 6.0) & (self.rng.random(len(clock)) < 0.8)
        self.delay[asleep] += 6.0 - clock[asleep] + self.rng.random(int(asleep.sum())) * 4.0

    def keep(self, is_kept: NDArray[np.bool_]) -> None:
        """Lose the other conversions."""
        self.variant = self.variant[is_kept]
        self.decided, self.delay = self.decided[is_kept], self.delay[is_kept]

    def grid(self, now: float, history: int = 28 * 24) -> Grid:
        """Return the evidence as it stands at a time, in hours."""
        end = int(np.ceil(now))
        start = max(0, end - history)
        has_come = (self.decided + self.delay <= now) & (self.decided >= start)
        variant, hour = self.variant[has_come], self.decided[has_come].astype(int) - start
        bins = np.searchsorted(EDGES, self.delay[has_come], side="right")
        delays = np.zeros((VARIANTS, end - start, BINS))
        place = np.ravel_multi_index((variant, hour, bins), delays.shape)
        delays += np.bincount(place, minlength=delays.size).reshape(delays.shape)
        conversions = delays.sum(axis=2)
        pulls = self.pulls[:, start:end]
        return Grid(start, pulls, conversions, conversions, conversions, delays)

    def arrived(self, now: float, start: int) -> FloatArray:
        """Return how many conversions came in each hour up to a time."""
        at = self.decided + self.delay
        at = at[(at <= now) & (at >= start)]
        end = int(np.ceil(now))
        return np.histogram(at, np.arange(start, end + 1))[0].astype(float)
