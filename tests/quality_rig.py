"""A watch over memory stores, whose checks say what a test tells them."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.experiment import Experiment
from service.quality import Check, CheckState, QualityChange, QualityWatch, Verdict
from service.quality.orphans import OrphanHunt
from service.quality.standings import Standings
from service.store.memory_quality import (
    MemoryQualityEvidence,
    MemoryQualityStates,
    MemoryTallyStore,
)
from tests.worker_rig import Rig


class Oracle:
    """A check that says what it is told to, and notes whom it was asked about."""

    def __init__(self, name: str = "values") -> None:
        self.name = name
        self.state = CheckState.ok
        self.error: Exception | None = None
        self.asked: list[str] = []

    async def judge(self, experiment: Experiment, now_ms: int) -> Verdict:  # noqa: ARG002
        """Return the verdict, or raise the error."""
        self.asked.append(experiment.id)
        if self.error is not None:
            raise self.error
        return Verdict(self.name, self.state, f"It is {self.state.name}.", {"share": 0.5})


class Changes(list[QualityChange]):
    """Notes what changed."""

    async def note(self, change: QualityChange) -> None:
        """Add a change."""
        self.append(change)


def a_watch(
    rig: Rig,
    checks: Sequence[Check] = (),
    changes: Changes | None = None,
    states: MemoryQualityStates | None = None,
) -> QualityWatch:
    """Make a watch over a rig's stores."""
    tallies = MemoryTallyStore()
    noted = Changes() if changes is None else changes
    return QualityWatch(
        checks=checks,
        experiments=rig.experiments,
        ledger=rig.ledger,
        tallies=tallies,
        orphans=OrphanHunt(MemoryQualityEvidence(rig.ledger, tallies), rig.clock),
        standings=Standings(states or MemoryQualityStates(), noted.note),
        clock=rig.clock,
    )
