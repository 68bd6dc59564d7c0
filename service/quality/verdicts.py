"""What a check says of an experiment's data, and what it is told apart by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from service.domain.experiment import Experiment
from service.domain.quality import CheckState

__all__ = ["Changed", "Check", "CheckState", "QualityChange", "Verdict"]


class Verdict(Struct, frozen=True):
    """One check's judgement of one experiment: a state, a plain sentence, and its figures."""

    check: str
    state: CheckState
    sentence: str
    figures: dict[str, float] = {}


class Check(Protocol):
    """One question asked of an experiment's data, again and again."""

    @property
    def name(self) -> str:
        """Its name in metrics, health and logs."""
        ...

    async def judge(self, experiment: Experiment, now_ms: int) -> Verdict:
        """Return the verdict of now; errors of stores pass through."""
        ...


class QualityChange(Struct, frozen=True):
    """A check's state of an experiment became another one."""

    tenant: int
    number: int
    experiment: str
    check: str
    before: CheckState
    after: CheckState
    sentence: str
    at_ms: int


Changed = Callable[[QualityChange], Awaitable[None]]
