"""How a process leaves: it says so first, is still there for a while, and then answers the last."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Departure:
    """Whether this process has been told to end; load balancers read it from `/readyz`."""

    has_begun: bool = False

    def reasons(self) -> list[str]:
        """Return why the process should get no more traffic; empty when it should."""
        return ["the process is about to end"] if self.has_begun else []
