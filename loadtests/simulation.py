"""A marketing system to talk to the service: e-mails in waves, and recipients who react later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, NamedTuple

import httpx
import numpy as np

# The visit rates of the three groups of Kevin Hillstrom's MineThatData e-mail test.
HILLSTROM_RATES = {"mens": 0.182757, "womens": 0.151400, "none": 0.106167}
HILLSTROM_CUSTOMERS = 64_000
EVENT = "visit"
# Every marketing system repeats itself: time-outs are retried, and queues deliver twice.
WAVES_BETWEEN_RETRIES = 10
DUPLICATE_SHARE = 0.01


class Wave(NamedTuple):
    """One send: its occasion, and the customers who get it."""

    occasion: str
    customers: range

    @property
    def units(self) -> list[str]:
        """The recipients' ids."""
        return [f"customer-{number:05}" for number in self.customers]


def waves_of(customers: int, size: int) -> list[Wave]:
    """Split the customers into waves of one size; each gets one e-mail."""
    starts = range(0, customers, size)
    return [
        Wave(f"wave-{i:03}", range(start, min(start + size, customers)))
        for i, start in enumerate(starts, 1)
    ]


class Visit(NamedTuple):
    """A reaction to an e-mail, to be reported when its time has come."""

    due_s: float
    event_id: str
    decision_id: str
    variant: str


class Recipients:
    """People who visit, or not, some time after their e-mail.

    Each carries one number in [0, 1) for good and visits if the variant's rate is above it, so
    what an e-mail does to them does not depend on who else was mailed, or when.
    """

    def __init__(
        self, rates: Mapping[str, float], count: int, delay_s: float, rng: np.random.Generator
    ) -> None:
        self._rates = rates
        self._thresholds = rng.random(count)
        self._delays_s = rng.exponential(delay_s, count)

    def react(
        self, wave: Wave, decisions: Sequence[Mapping[str, Any]], now_s: float
    ) -> list[Visit]:
        """Return the visits that a wave will lead to."""
        return [
            Visit(
                now_s + float(self._delays_s[customer]),
                f"{wave.occasion}/{customer}",
                decision["decision_id"],
                decision["variant"],
            )
            for customer, decision in zip(wave.customers, decisions, strict=True)
            if self._thresholds[customer] < self._rates[decision["variant"]]
        ]


@dataclass(slots=True)
class Tally:
    """What the marketing system itself knows of its sends."""

    sends: Counter[str] = field(default_factory=Counter)
    visits: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    repeated: int = 0

    def expected(self, rates: Mapping[str, float]) -> float:
        """Return how many visits the sends were worth at the true rates."""
        return sum(count * rates[variant] for variant, count in self.sends.items())


class DemoError(Exception):
    """The service answered what it must not; the message says what."""


class MarketingSystem:
    """Sends waves and reports visits over HTTP, and holds the answers to the contract."""

    def __init__(
        self,
        client: httpx.Client,
        experiment: str,
        recipients: Recipients,
        rng: np.random.Generator,
    ) -> None:
        self.tally = Tally()
        self._client = client
        self._experiment = experiment
        self._recipients = recipients
        self._rng = rng
        self._coming: list[Visit] = []

    @property
    def visits_coming(self) -> int:
        """How many visits are still to happen."""
        return len(self._coming)

    def send(self, number: int, wave: Wave, now_s: float) -> int:
        """Choose for a whole wave, some twice, as after a time-out; return how often."""
        decisions = self._choose(wave)
        is_retried = number % WAVES_BETWEEN_RETRIES == 0
        if is_retried:
            again = self._choose(wave)
            if [d["decision_id"] for d in again] != [d["decision_id"] for d in decisions]:
                raise DemoError(f"{wave.occasion} was sent again and got other decisions")
            self.tally.retried += len(again)
        self.tally.sends.update(decision["variant"] for decision in decisions)
        for visit in self._recipients.react(wave, decisions, now_s):
            heappush(self._coming, visit)
        return 1 + is_retried

    def _choose(self, wave: Wave) -> list[dict[str, Any]]:
        body = {"experiment": self._experiment, "occasion": wave.occasion, "units": wave.units}
        decisions: list[dict[str, Any]] = self._post("/choose/batch", body)["decisions"]
        return decisions

    def report_visits(self, now_s: float) -> None:
        """Reward the visits that have happened by now; a few are reported twice."""
        happened = []
        while self._coming and self._coming[0].due_s <= now_s:
            happened.append(heappop(self._coming))
        if not happened:
            return
        repeated = [v for v in happened if self._rng.random() < DUPLICATE_SHARE]
        statuses = Counter(self._reward([*happened, *repeated]))
        if statuses != Counter(accepted=len(happened), duplicate=len(repeated)):
            raise DemoError(f"{len(happened)} visits and {len(repeated)} copies: {dict(statuses)}")
        self.tally.visits.update(visit.variant for visit in happened)
        self.tally.repeated += len(repeated)

    def _reward(self, visits: Sequence[Visit]) -> list[str]:
        rewards = [
            {"decision_id": v.decision_id, "event": EVENT, "event_id": v.event_id} for v in visits
        ]
        results = self._post("/reward/batch", {"rewards": rewards})["results"]
        return [result["status"] for result in results]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._client.post(path, json=body)
        if response.status_code != httpx.codes.OK:
            raise DemoError(f"POST {path} answered {response.status_code}: {response.text[:300]}")
        answer: dict[str, Any] = response.json()
        return answer
