"""What the worker meets of allocations in the decisions it drains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from service.domain.decision import Decision


@dataclass(slots=True)
class Traces:
    """The highest version that decisions name, by experiment, and how often SQL went back."""

    named: dict[int, int] = field(default_factory=dict)
    losses: int = 0

    def note(self, decisions: Iterable[Decision]) -> None:
        """Remember what decisions name."""
        named = self.named
        for decision in decisions:
            if decision.version > named.get(decision.experiment, 0):
                named[decision.experiment] = decision.version

    def name(self, experiment: int, version: int) -> None:
        """Remember a version."""
        self.named[experiment] = max(version, self.named.get(experiment, 0))

    def version(self, experiment: int) -> int:
        """Return the highest version met of an experiment, or 0."""
        return self.named.get(experiment, 0)
