"""What stores promise to those who mend a ledger that went back to an older state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.domain.decision import Decision
from service.domain.experiment import Experiment
from service.store.records import Cursor


class RecoverableLedger(Protocol):
    """The part of a ledger by which a loss is noticed and mended."""

    async def position(self, segment: str) -> int:
        """Return how far a segment is committed; 0 for an unknown one."""
        ...

    async def positions(self, segments: Sequence[str]) -> dict[str, int]:
        """Return how far segments are committed, in one snapshot; unknown ones are left out."""
        ...

    async def settled_positions(self, segments: Sequence[str], pause_ms: int) -> dict[str, int]:
        """Return the positions that have not moved for so long, by the database's clock."""
        ...

    async def first_decisions(self, keys: Sequence[bytes]) -> list[Decision]:
        """Return the first-committed decisions of keys, in any order; unknown ones are left out."""
        ...

    async def unconfirmed_decisions(
        self, since_ms: int, before: Cursor | None, count: int
    ) -> tuple[list[Decision], Cursor | None]:
        """Return first-committed decisions that Redis may not know, of all experiments.

        Newest first, and where to go on (None: end), as `recent_decisions` does. They are those of
        `UNCONFIRMED_SOURCES`: found without reading the others.
        """
        ...

    async def named_version(self, experiment: int) -> int:
        """Return the highest version that an experiment's latest decisions name, or 0."""
        ...

    async def renew_revisions(self, jump: int, experiments: Sequence[int]) -> None:
        """Add a number to the evidence revision of every experiment.

        Also to those of the given ones that have no evidence: it may be lost as a whole.
        Whoever holds evidence of a state that is gone sees that it is not this one's.
        """
        ...


class AdoptingExperiments(Protocol):
    """The part of an experiment store that takes back what it has lost."""

    async def adopt(self, experiment: Experiment, actor: str, at_ms: int) -> bool:
        """Insert a configuration under its own number and revision; False when it stands there.

        Where another configuration has the revision, the stored one becomes the next revision:
        who changed it last prevails, and the number of no revision means two things.

        Raises
        ------
        StateConflictError
            The number or the id belongs to another experiment.
        """
        ...

    async def discard(self, experiment: Experiment, actor: str, at_ms: int) -> bool:
        """Take back a creation that was never allocated; False when it was, or is gone.

        Its number is never given again, and the trail keeps what was done.
        """
        ...

    async def reserve_numbers(self, highest: int) -> None:
        """Give new experiments only numbers above this one."""
        ...
