"""A scenario: how to break a stack and mend it, and what happened meanwhile."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx

from tests.faults.load import Load, Plan
from tests.faults.stack import Layout, Stack
from tests.faults.verdict import (
    RECOVERY_AFTER_FAULT_SECONDS_MAX,
    Books,
    Service,
    exported,
    recovery,
    served,
    settled,
)

BEFORE_SECONDS = 1.5
# Where times are not judged:
BRIEF_BEFORE_SECONDS, BRIEF_FAULT_SECONDS_MAX, BRIEF_AFTER_SECONDS = 0.8, 2.0, 0.5
AFTER_SECONDS_MIN, AFTER_SECONDS_MAX = 1.2, 8.0
POLL_SECONDS = 0.1
VARIANTS = [{"id": name, "is_control": name == "a", "payload": {"is": name}} for name in "abc"]


@dataclass(slots=True)
class Lab:
    """What a scenario works on; it may change the load's plan and leave complaints."""

    stack: Stack
    load: Load
    complaints: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)  # The export, for `check`.

    @property
    def experiment(self) -> str:
        """The experiment that only this scenario uses."""
        return self.load.experiment

    def expect(self, holds: bool, complaint: str) -> None:
        """Complain unless something holds."""
        if not holds:
            self.complaints.append(complaint)


Fault: TypeAlias = Callable[[Lab], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table.

    `fault` breaks something when its block is entered and mends it when that is left; the block
    lasts `fault_seconds`. `check` runs once the books agree.
    """

    name: str
    fault: Fault
    layout: Layout = Layout()  # noqa: RUF009  It is frozen.
    plan: Plan = field(default_factory=Plan)
    fault_seconds: float = 3.0
    is_quick: bool = False  # Also in `make test`.
    keeps_choosing: bool = True  # Every choice is answered 200 in time, through the fault.
    reward_statuses: tuple[int, ...] = (200, 202)
    recovery_seconds_max: float = RECOVERY_AFTER_FAULT_SECONDS_MAX
    check: Callable[[Lab], None] | None = None
    body: dict[str, Any] = field(default_factory=dict)  # Of the experiment, beside its variants.
    prepare: Callable[[Stack], None] | None = None  # Before the service starts; its layout's own.


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario showed."""

    scenario: Scenario
    service: Service
    books: Books
    complaints: tuple[str, ...]
    seconds: float

    def broken(self, *, is_timed: bool) -> list[str]:
        """Return each promise that did not hold; times only where the machine is quiet."""
        return (
            [*self.complaints, *self.books.differences]
            + self._broken_counts()
            + self._broken_statuses()
            + (self._broken_times() if is_timed else [])
        )

    def _broken_counts(self) -> list[str]:
        found = []
        if self.books.lost:
            found.append(f"{self.books.lost} lost")
        if self.books.twice:
            found.append(f"{self.books.twice} twice")
        if not self.service.choices:
            found.append("nobody chose during the fault")
        return found

    def _broken_statuses(self) -> list[str]:
        if not self.scenario.keeps_choosing:
            return []
        allowed = {"choose": (200,), "reward": self.scenario.reward_statuses}
        return [
            f"{count} x {status or 'no answer'} {problem} to {kind}".replace("  ", " ")
            for kind, statuses in self.service.statuses.items()
            for (status, problem), count in statuses.items()
            if status not in allowed[kind]
        ]

    def _broken_times(self) -> list[str]:
        found = []
        if self.scenario.keeps_choosing and self.service.within < 1.0:
            found.append(f"{self.service.within:.2%} within 250 ms")
        recovered = self.service.recovery_seconds
        if recovered is None or recovered > self.scenario.recovery_seconds_max:
            found.append(f"not normal within {self.scenario.recovery_seconds_max:.0f} s")
        return found


def run(scenario: Scenario, stack: Stack, experiment: str, *, is_brief: bool = False) -> Outcome:
    """Run one scenario on a stack that is whole, and leave it whole."""
    lasts = min(scenario.fault_seconds, BRIEF_FAULT_SECONDS_MAX if is_brief else math.inf)
    started = time.perf_counter()
    put(stack, experiment, **scenario.body)
    lab = Lab(stack, Load(list(stack.addresses), experiment, _copied(scenario.plan)))
    lab.load.start()
    try:
        time.sleep(BRIEF_BEFORE_SECONDS if is_brief else BEFORE_SECONDS)
        began = time.perf_counter()
        with scenario.fault(lab):
            time.sleep(max(0.0, began + lasts - time.perf_counter()))
        ended = time.perf_counter()
        if is_brief:
            time.sleep(BRIEF_AFTER_SECONDS)
        else:
            _wait_for_recovery(lab.load, ended)
    finally:
        lab.load.stop()
    books = settled(stack, lab.load)
    if scenario.check is not None:
        lab.rows = exported(stack.url, experiment)
        scenario.check(lab)
    lab.complaints += lab.load.errors[:3]
    return Outcome(
        scenario,
        served(lab.load.attempts, began, ended),
        books,
        tuple(lab.complaints),
        time.perf_counter() - started,
    )


def put(stack: Stack, experiment: str, **body: object) -> None:
    """Create an experiment of variants a, b, c."""
    url = f"{stack.url}/experiments/{experiment}"
    answer = httpx.put(url, json={"variants": VARIANTS, **body}, timeout=10)
    answer.raise_for_status()


def _copied(plan: Plan) -> Plan:
    return Plan(**{name: getattr(plan, name) for name in Plan.__slots__})


def _wait_for_recovery(load: Load, ended: float) -> None:
    """Go on until all is as before, at least for a moment and at most as long as anyone waits."""
    time.sleep(AFTER_SECONDS_MIN)
    while time.perf_counter() - ended < AFTER_SECONDS_MAX:
        if recovery(load.attempts, ended) is not None:
            return
        time.sleep(POLL_SECONDS)
