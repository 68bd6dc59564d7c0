"""A scenario: how to break a stack and mend it, and what happened meanwhile."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx

from tests.faults.conduct import Rules, rewards_recovery, wrong
from tests.faults.load import Load, Plan
from tests.faults.stack import Layout, Stack
from tests.faults.verdict import (
    GOOD_SECONDS,
    RECOVERY_AFTER_FAULT_SECONDS_MAX,
    Books,
    Service,
    exported,
    recovery,
    served,
    settled,
)

BEFORE_SECONDS = 1.0
# Where times are not judged:
BRIEF_BEFORE_SECONDS, BRIEF_FAULT_SECONDS_MAX, BRIEF_AFTER_SECONDS = 0.8, 2.0, 0.5
AFTER_SECONDS_MIN, AFTER_SECONDS_MAX = 1.2, 8.0
POLL_SECONDS = 0.1
DOWN = (0, 503)
VARIANTS = [{"id": name, "is_control": name == "a", "payload": {"is": name}} for name in "abc"]


@dataclass(slots=True)
class Lab:
    """What a scenario works on; it may change the load's plan and leave complaints."""

    stack: Stack
    load: Load
    complaints: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)  # The export, for `check`.
    began: float = 0.0  # Of the fault.
    ended: float = 0.0
    _marks: dict[str, int] = field(default_factory=dict)

    @property
    def experiment(self) -> str:
        """The experiment that only this scenario uses."""
        return self.load.experiment

    def mark(self) -> None:
        """Note how long each log is: what stands there by now tells of other scenarios."""
        self._marks = {path.stem: path.stat().st_size for path in self.stack.logs()}

    def log(self, name: str) -> str:
        """Return what a process has logged since this scenario began."""
        return self.stack.log(name, self._marks.get(name, 0))

    def answered(self, kind: str, status: int, source: str = "") -> int:
        """Count such answers to what was asked while the fault lasted; no source means any."""
        return sum(
            a.kind == kind and a.status == status and (not source or a.source == source)
            for a in self.load.attempts
            if self.began <= a.began < self.ended
        )

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

    @property
    def rules(self) -> Rules:
        """What may be answered; where an API process is the victim, also nothing, or 503."""
        down = () if self.keeps_choosing else DOWN
        return Rules(
            choose=(200, *down),
            reward=(*self.reward_statuses, *down),
            seconds_after=self.recovery_seconds_max,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario showed."""

    scenario: Scenario
    service: Service
    books: Books
    complaints: tuple[str, ...]
    seconds: float
    wrong: tuple[str, ...] = ()  # Answers that nobody should have got, in all the run.
    given_up: int = 0
    rewards_seconds: float | None = None  # From the fault's end until none is queued any more.

    def broken(self, *, is_timed: bool) -> list[str]:
        """Return each promise that did not hold; times only where the machine is quiet."""
        return (
            [*self.complaints, *self.books.differences]
            + self._broken_counts()
            + list(self.wrong)
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
        if self.given_up:
            found.append(f"{self.given_up} requests given up")
        return found

    def _broken_times(self) -> list[str]:
        found = []
        if self.scenario.keeps_choosing and self.service.within < 1.0:
            found.append(f"{self.service.within:.2%} within 250 ms")
        recovered = self.service.recovery_seconds
        if recovered is None or recovered > self.scenario.recovery_seconds_max:
            found.append(f"not normal within {self.scenario.recovery_seconds_max:.0f} s")
        recorded = self.rewards_seconds
        if recorded is None or recorded > self.scenario.recovery_seconds_max:
            limit = self.scenario.recovery_seconds_max
            found.append(f"rewards not recorded at once within {limit:.0f} s")
        return found


def run(scenario: Scenario, stack: Stack, experiment: str, *, is_brief: bool = False) -> Outcome:
    """Run one scenario on a stack that is whole, and leave it whole."""
    lasts = min(scenario.fault_seconds, BRIEF_FAULT_SECONDS_MAX if is_brief else math.inf)
    started = time.perf_counter()
    put(stack, experiment, **scenario.body)
    lab = Lab(stack, Load(list(stack.addresses), experiment, _copied(scenario.plan)))
    lab.mark()
    lab.load.start()
    try:
        time.sleep(BRIEF_BEFORE_SECONDS if is_brief else BEFORE_SECONDS)
        lab.began = time.perf_counter()
        with scenario.fault(lab):
            time.sleep(max(0.0, lab.began + lasts - time.perf_counter()))
        lab.ended = time.perf_counter()
        if is_brief:
            time.sleep(BRIEF_AFTER_SECONDS)
        else:
            _wait_for_recovery(scenario, lab)
    finally:
        lab.load.stop()
    books = settled(stack, lab.load)
    if scenario.check is not None:
        lab.rows = exported(stack.url, experiment)
        scenario.check(lab)
    lab.complaints += lab.load.errors[:3]
    return _outcome(scenario, lab, books, time.perf_counter() - started)


def _outcome(scenario: Scenario, lab: Lab, books: Books, seconds: float) -> Outcome:
    attempts, began, ended = lab.load.attempts, lab.began, lab.ended
    return Outcome(
        scenario,
        served(attempts, began, ended),
        books,
        tuple(lab.complaints),
        seconds,
        tuple(wrong(attempts, scenario.rules, began, ended)),
        lab.load.given_up,
        _recorded(scenario, lab),
    )


def _recorded(scenario: Scenario, lab: Lab) -> float | None:
    listed = scenario.reward_statuses
    return rewards_recovery(lab.load.attempts, lab.ended, listed, GOOD_SECONDS)


def put(stack: Stack, experiment: str, **body: object) -> None:
    """Create an experiment of variants a, b, c."""
    url = f"{stack.url}/experiments/{experiment}"
    answer = httpx.put(url, json={"variants": VARIANTS, **body}, timeout=10)
    answer.raise_for_status()


def _copied(plan: Plan) -> Plan:
    return Plan(**{name: getattr(plan, name) for name in Plan.__slots__})


def _wait_for_recovery(scenario: Scenario, lab: Lab) -> None:
    """Go on until all is as before, at least for a moment and at most as long as anyone waits."""
    time.sleep(AFTER_SECONDS_MIN)
    while time.perf_counter() - lab.ended < AFTER_SECONDS_MAX:
        chosen = recovery(lab.load.attempts, lab.ended)
        if chosen is not None and _recorded(scenario, lab) is not None:
            return
        time.sleep(POLL_SECONDS)
