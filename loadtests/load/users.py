"""The users who send mail and hear of conversions, for Locust."""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numpy as np
from locust import FastHttpUser, constant_pacing, task
from locust.env import Environment

from loadtests.load.experiments import CLICK, CONVERSION, conversion_rate, experiments
from loadtests.load.shapes import (
    BURST_CHOICES,
    BURST_SECONDS,
    DAYS_PER_RUN,
    REPEATED_SHARE,
    RETRY_SHARE,
    SEND_CALLS,
    SEND_SECONDS,
    SEND_UNITS,
    TEMPLATE_PULLS_PER_SECOND,
)

RECIPIENTS = 1_000_000
DELAY_DAYS = 2.0  # From a mail to its conversion, on average.
CLICK_SHARE = 0.5  # Of the reactions; they are recorded and convert nobody.
WEBHOOK_LATE_SECONDS = 0.5  # From a conversion to the first try to tell of it, on average.
WEBHOOK_LATE_SECONDS_MAX = 60.0
BACKLOG = 50  # Conversions that are due before a shop tells of them in batches.
BATCH_REWARDS = 200
IDLE_SECONDS = 0.1
TIMEOUT_SECONDS = 10.0
SUCCESSES = (200, 202)
RNG = np.random.default_rng(20_261_124)


class Conversion(NamedTuple):
    """Something a recipient did after a mail, to be told when its time has come."""

    due: float
    decision_id: str
    event: str
    event_id: str


COMING: list[Conversion] = []  # A heap, shared by all users.
TOLD: deque[Conversion] = deque(maxlen=1_000)  # For deliveries that come twice.


def options_of(environment: Environment) -> argparse.Namespace:
    """Return the command line."""
    options: argparse.Namespace = environment.parsed_options or argparse.Namespace()
    return options


class ServiceUser(FastHttpUser):
    """What all users have in common: a key, units, and a look at each answer."""

    abstract = True
    connection_timeout = TIMEOUT_SECONDS
    network_timeout = TIMEOUT_SECONDS

    def on_start(self) -> None:
        """Read the options once."""
        options = options_of(self.environment)
        self.auth = {"Authorization": f"Bearer {options.key}"} if options.key else {}
        self.experiments = experiments(options.tag)
        self.day_seconds = options.seconds / DAYS_PER_RUN
        self.number = int(RNG.integers(2**40))  # Occasions of two users are never the same.
        self.asked = 0

    @contextmanager
    def asking(
        self, method: str, path: str, name: str, body: dict[str, Any] | None = None
    ) -> Iterator[Any]:
        """Give the answer, or None if it is no success: then it counts as a failure."""
        with self.client.request(
            method, path, name=name, json=body, headers=self.auth, catch_response=True
        ) as answer:
            if answer.status_code in SUCCESSES:
                yield answer
            else:
                answer.failure(f"answered {answer.status_code}")
                yield None

    def occasion(self) -> str:
        """Return an occasion that nobody has had."""
        self.asked += 1
        return f"{self.number:x}-{self.asked}"

    def unit(self) -> str:
        """Return somebody."""
        return f"recipient-{int(RNG.integers(RECIPIENTS)):07d}"

    def sent(self, decision: dict[str, Any]) -> None:
        """Let the recipient of a mail react to it, or not, some days later."""
        if RNG.random() < conversion_rate(decision["variant"]):
            due = time.perf_counter() + float(RNG.exponential(DELAY_DAYS)) * self.day_seconds
            event = CLICK if RNG.random() < CLICK_SHARE else CONVERSION
            heappush(COMING, Conversion(due, decision["decision_id"], event, f"order-{due}"))


class TemplateUser(ServiceUser):
    """E-mails being rendered: each pulls its variant, and some pull again after a time-out."""

    wait_time = constant_pacing(1 / TEMPLATE_PULLS_PER_SECOND)

    @task
    def pull(self) -> None:
        """Ask with GET, as templates do."""
        experiment, unit, occasion = self.experiments[0], self.unit(), self.occasion()
        path = f"/choose?experiment={experiment}&unit={unit}&occasion={occasion}"
        first = self._pull(path)
        if first is not None:
            self.sent(first)
            if RNG.random() < RETRY_SHARE:
                self._pull(path, first)

    def _pull(self, path: str, expected: dict[str, Any] | None = None) -> dict[str, Any] | None:
        decision: dict[str, Any] | None = None
        with self.asking("GET", path, "GET /choose") as answer:
            if answer is not None:
                decision = answer.json()
                if expected is not None and decision is not None:
                    _hold_to([expected], [decision], answer)
        return decision


class BurstUser(ServiceUser):
    """Triggered mails: a batch job wakes up and chooses for one recipient after the other."""

    wait_time = constant_pacing(BURST_SECONDS)

    @task
    def burst(self) -> None:
        """Choose many times in a row."""
        experiment, occasion = self.experiments[1], self.occasion()
        for _ in range(BURST_CHOICES):
            body = {"experiment": experiment, "unit": self.unit(), "occasion": occasion}
            with self.asking("POST", "/choose", "POST /choose", body) as answer:
                if answer is not None:
                    self.sent(answer.json())


class SendUser(ServiceUser):
    """Newsletters: a send is a row of batches, and some are repeated after a time-out."""

    wait_time = constant_pacing(SEND_SECONDS)

    @task
    def send(self) -> None:
        """Choose for a whole send."""
        experiment, occasion = self.experiments[2], self.occasion()
        for call in range(SEND_CALLS):
            first = int(RNG.integers(RECIPIENTS))
            units = [f"reader-{call}-{(first + i) % RECIPIENTS:07d}" for i in range(SEND_UNITS)]
            body = {"experiment": experiment, "occasion": occasion, "units": units}
            decisions = self._choose(body)
            if decisions and RNG.random() < RETRY_SHARE:
                self._choose(body, decisions)
            for decision in decisions:
                self.sent(decision)

    def _choose(self, body: dict[str, Any], expected: Sequence[Any] = ()) -> list[Any]:
        decisions: list[Any] = []
        with self.asking("POST", "/choose/batch", "POST /choose/batch", body) as answer:
            if answer is not None:
                decisions = answer.json()["decisions"]
                _hold_to(expected, decisions, answer)
        return decisions


class WebhookUser(ServiceUser):
    """A shop that tells of conversions, days after the mail, and of some of them twice."""

    @task
    def deliver(self) -> None:
        """Tell of what is due, one by one, or in batches when there is a backlog."""
        due = _due()
        if not due:
            time.sleep(IDLE_SECONDS)  # Locust has made this one let the others go on.
        elif len(due) == 1:
            with self.asking("POST", "/reward", "POST /reward", _reward(due[0])) as answer:
                _look(answer, lambda told: [told])
        else:
            body = {"rewards": [_reward(each) for each in due]}
            with self.asking("POST", "/reward/batch", "POST /reward/batch", body) as answer:
                _look(answer, lambda told: told["results"])


def _hold_to(
    expected: Sequence[dict[str, Any]],
    decisions: Sequence[dict[str, Any]],
    answer: Any,  # noqa: ANN401  Locust's answers have no type.
) -> None:
    """Hold what was asked again to the first answer; without Redis another one is allowed."""
    for first, again in zip(expected, decisions, strict=False):
        is_fallback = "fallback" in (first["source"], again["source"])
        if first["decision_id"] != again["decision_id"] and not is_fallback:
            answer.failure("asked again, it was another decision")
            return


def _due() -> list[Conversion]:
    """Take what is due, or now and then something that was told already."""
    now = time.perf_counter()
    if TOLD and COMING and COMING[0].due <= now and RNG.random() < REPEATED_SHARE:
        return [TOLD[int(RNG.integers(len(TOLD)))]]
    behind = sum(1 for each in COMING[: 2 * BACKLOG] if each.due <= now)
    count = BATCH_REWARDS if behind >= BACKLOG else 1
    due: list[Conversion] = []
    while COMING and COMING[0].due <= now and len(due) < count:
        due.append(heappop(COMING))
    TOLD.extend(due)
    return due


def _reward(told: Conversion) -> dict[str, Any]:
    body = {"decision_id": told.decision_id, "event": told.event, "event_id": told.event_id}
    # Every second shop tells when it happened, which is some time ago.
    if int(told.due * 1_000) % 2:
        late = min(float(RNG.exponential(WEBHOOK_LATE_SECONDS)), WEBHOOK_LATE_SECONDS_MAX)
        body["occurred_at"] = (datetime.now(UTC) - timedelta(seconds=late)).isoformat()
    return body


def _look(answer: Any, results_of: Any) -> None:  # noqa: ANN401  Locust's answers have no type.
    """Hold the outcomes of rewards to the contract."""
    if answer is not None:
        statuses = {result["status"] for result in results_of(answer.json())}
        if statuses - {"accepted", "duplicate", "queued"}:
            answer.failure(f"rewards were {sorted(statuses)}")
