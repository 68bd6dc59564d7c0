"""Run scenarios one after the other; those of one layout share a stack while it stays whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from tests.faults.scenario import Outcome, Scenario, run
from tests.faults.stack import Stack
from tests.faults.verdict import Books, served


class Laboratory:
    """Keeps the stack of the last scenario for a next one of the same layout."""

    def __init__(self, *, is_brief: bool = False) -> None:
        self._is_brief = is_brief
        self._stack: Stack | None = None
        self._count = 0
        self._ends = ExitStack()

    def __enter__(self) -> Laboratory:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def run(self, scenario: Scenario) -> Outcome:
        """Run a scenario; one that fails says so in its row, and spoils no other."""
        self._count += 1
        began = time.perf_counter()
        try:
            stack = self._stack_for(scenario)
            outcome = run(scenario, stack, f"s{self._count}", is_brief=self._is_brief)
        except Exception as error:  # noqa: BLE001  The other rows are wanted all the same.
            outcome = _failed(scenario, error, time.perf_counter() - began)
        if outcome.broken(is_timed=False):
            self._clear()
        return outcome

    def _stack_for(self, scenario: Scenario) -> Stack:
        stack = self._stack
        if stack is None or (stack.layout, stack.prepare) != (scenario.layout, scenario.prepare):
            self._clear()
            stack = self._ends.enter_context(Stack(scenario.layout, prepare=scenario.prepare))
            self._stack = stack
        return stack

    def _clear(self) -> None:
        self._stack = None
        self._ends.close()


def grouped(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Return scenarios with those of the same layout together."""
    kinds = list(dict.fromkeys((s.layout, s.prepare) for s in scenarios))
    return sorted(scenarios, key=lambda s: kinds.index((s.layout, s.prepare)))


def _failed(scenario: Scenario, error: Exception, seconds: float) -> Outcome:
    now = time.perf_counter()
    reason = (str(error).strip().splitlines() or [""])[-1]
    complaint = f"it failed: {type(error).__name__}: {reason[-300:]}"
    return Outcome(scenario, served([], now, now), Books(0, 0, ()), (complaint,), seconds)
