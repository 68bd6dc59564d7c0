"""Whether this process may be sent traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.allocations.serving_tables import ServingTables
from service.store.ports import Ledger, Outbox


@dataclass(frozen=True, slots=True)
class Health:
    """Ready: every allocation and key is held, and an answer can be recorded and stored."""

    tables: ServingTables
    outbox: Outbox
    ledger: Ledger
    are_keys_loaded: Callable[[], bool]
    is_schema_behind: Callable[[], bool]

    async def reasons(self) -> list[str]:
        """Return why the process is not ready, in plain words; empty when it is."""
        reasons = []
        if not self.tables.is_ready:
            reasons.append("the allocations are not loaded yet")
        if not self.are_keys_loaded():
            reasons.append("the API keys are not loaded yet")
        if self.is_schema_behind():
            reasons.append("the database is not migrated to this release yet")
        # Asked of SQL only when the outbox fails: readiness must not depend on SQL.
        if not self.outbox.is_writable and not await self.ledger.is_reachable():
            reasons.append("neither the outbox nor the ledger can be written")
        return reasons
