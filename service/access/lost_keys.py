"""Tell what SQL lost of tenants and API keys by failing over to an older state."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, structs

from service.domain.access import ApiKey, Tenant
from service.logs import logger

_log = logger(__name__)


class Known(Struct, frozen=True):
    """The tenants and keys that somebody knows."""

    tenants: Sequence[Tenant]
    keys: Sequence[ApiKey]

    def with_those(self, others: Known) -> Known:
        """Return both; a key of the others replaces one of the same id."""
        keys = {key.id: key for key in (*self.keys, *others.keys)}
        return Known((*self.tenants, *others.tenants), tuple(keys.values()))


def lost_of(standing: Known, held: Known) -> Known:
    """Return what is held but does not stand in SQL; what lacks its revocation comes with it.

    Nothing here deletes a key or takes a revocation back, so what SQL does not know any more, it
    has lost. This cannot be told from a row that somebody deleted by hand: that one returns too,
    and the way to end a key is to revoke it.
    """
    tenants = _lost_tenants(standing.tenants, held.tenants)
    known = {key.id: key for key in standing.keys}
    lost = [key for key in held.keys if key.id not in known]
    # Numbers of tenants that SQL lost may be others' by now, whose data their keys would open.
    owned = {tenant.number for tenant in held.tenants if tenant in standing.tenants}
    owned |= {tenant.number for tenant in tenants}
    if refused := [key.id for key in lost if key.tenant not in owned]:
        _log.error("api_keys_not_put_back", key_ids=refused, reason="their tenant is another one")
    unrevoked = [
        structs.replace(known[key.id], revoked_at_ms=key.revoked_at_ms)
        for key in held.keys
        if key.revoked_at_ms is not None and key.id in known and known[key.id].revoked_at_ms is None
    ]
    return Known(tenants, (*(key for key in lost if key.tenant in owned), *unrevoked))


def _lost_tenants(standing: Sequence[Tenant], held: Sequence[Tenant]) -> Sequence[Tenant]:
    """Return those whose number and name are both nobody's."""
    numbers = {tenant.number for tenant in standing}
    names = {tenant.name for tenant in standing}
    return tuple(each for each in held if each.number not in numbers and each.name not in names)
