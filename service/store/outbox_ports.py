"""What the worker is promised of the directory of segments."""

from __future__ import annotations

from typing import Any, Protocol

from service.store.records import Chunk, Record, Segment


class OutboxReader(Protocol):
    """What drains the directory of segments, whoever wrote them."""

    def segments(self) -> list[Segment]:
        """Return the segments, oldest first."""
        ...

    def read(self, segment: Segment, offset: int, count: int) -> Chunk:
        """Return at most `count` records from an offset on; quarantines what is damaged."""
        ...

    def quarantine(self, segment: str, record: Record, reason: str) -> None:
        """Put a record that the ledger can never take aside."""
        ...

    def retire(self, segment: str) -> None:
        """Take a drained, closed segment out of the directory's list; `remove` it afterwards."""
        ...

    def retired(self) -> list[str]:
        """Return the segments that were retired and not removed yet, by whichever process."""
        ...

    def remove(self, segment: str) -> None:
        """Delete a retired segment."""
        ...

    def free_bytes(self) -> int:
        """Return how much room for segments the volume has."""
        ...

    def ends(self) -> dict[str, int]:
        """Return where what is written of each segment ends now."""
        ...

    def backlog(self, committed: dict[str, int]) -> dict[str, Any]:
        """Return bytes not yet committed and the age of the oldest, for the metrics."""
        ...
