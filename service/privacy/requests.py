"""The use case behind the routes of erasures: ask for one, and see how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.domain.access import AdminAct
from service.domain.clock import Clock
from service.domain.erasure import Erasure
from service.store.privacy_ports import ErasureStore

ACTION = "erase unit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasures:
    """Takes requests; the worker carries them out."""

    store: ErasureStore
    make_id: Callable[[], str]
    clock: Clock

    async def request(self, tenant: int, unit: str, actor: str) -> Erasure:
        """Record a request; its act names the request, never the unit."""
        now_ms = self.clock.now_ms()
        erasure = Erasure(
            id=self.make_id(),
            tenant=tenant,
            unit=unit,
            requested_at_ms=now_ms,
            requested_by=actor,
        )
        act = AdminAct(tenant=tenant, at_ms=now_ms, actor=actor, action=ACTION, subject=erasure.id)
        await self.store.request(erasure, act)
        return erasure

    async def get(self, tenant: int, erasure_id: str) -> Erasure:
        """Return a tenant's request, or raise `ErasureNotFoundError`."""
        return await self.store.get(tenant, erasure_id)
