"""Tenants, API keys and administrative acts in memory: the reference of the SQL ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

from msgspec import structs

from service.domain.access import DEFAULT_TENANT_NAME, AdminAct, ApiKey, Tenant
from service.domain.experiment import DEFAULT_TENANT
from service.errors import StateConflictError
from service.store.key_acts import key_created, key_put_back, key_revoked


class MemoryActStore:
    """See `service.store.access_ports.ActStore`."""

    def __init__(self) -> None:
        self._acts: list[AdminAct] = []

    async def record(self, act: AdminAct) -> None:
        """Append an act; its `id` is given here."""
        self.append(act)

    def append(self, act: AdminAct) -> None:
        """Append an act, as part of another store's change."""
        self._acts.append(structs.replace(deepcopy(act), id=len(self._acts) + 1))

    async def of_tenant(self, tenant: int, limit: int, after: int = 0) -> list[AdminAct]:
        """Return at most `limit` acts of a tenant, oldest first; `after` is the last id seen."""
        own = [act for act in self._acts if act.tenant == tenant and act.id > after]
        return deepcopy(own[:limit])


class MemoryApiKeyStore:
    """See `service.store.access_ports.ApiKeyStore`."""

    def __init__(self, acts: MemoryActStore) -> None:
        self._acts = acts
        self._tenants = [Tenant(DEFAULT_TENANT, DEFAULT_TENANT_NAME)]
        self._keys: dict[str, ApiKey] = {}

    async def ensure_tenant(self, name: str) -> Tenant:
        """Return the tenant of a name; it is made when there is none."""
        found = next((tenant for tenant in self._tenants if tenant.name == name), None)
        if found is None:
            found = Tenant(max(each.number for each in self._tenants) + 1, name)
            self._tenants.append(found)
        return found

    async def tenants(self) -> list[Tenant]:
        """Return all tenants, in order of number; `default` is number 1."""
        return list(self._tenants)

    async def add(self, key: ApiKey, actor: str) -> None:
        """Insert a key and its act; raises `StateConflictError` when the id is taken."""
        if key.id in self._keys:
            raise StateConflictError("this key id is taken")
        self._keys[key.id] = key
        self._acts.append(key_created(key, actor))

    async def revoke(self, key_id: str, at_ms: int, actor: str) -> bool:
        """Revoke a key and write the act; False when there is none, or it was revoked before."""
        key = self._keys.get(key_id)
        if key is None or key.revoked_at_ms is not None:
            return False
        self._keys[key_id] = structs.replace(key, revoked_at_ms=at_ms)
        self._acts.append(key_revoked(key_id, key.tenant, at_ms, actor))
        return True

    async def put_back(
        self, tenants: Sequence[Tenant], keys: Sequence[ApiKey], at_ms: int, actor: str
    ) -> list[str]:
        """Write again what was lost, each key with an act; return the ids of changed keys."""
        for tenant in tenants:
            if not any(tenant.number == t.number or tenant.name == t.name for t in self._tenants):
                self._tenants.append(tenant)
        refused = {tenant.number for tenant in tenants if tenant not in self._tenants}
        changed = []
        for key in sorted(keys, key=lambda key: key.id):
            standing = self._keys.get(key.id)
            if standing is None and key.tenant not in refused:
                self._keys[key.id] = key
                self._acts.append(key_put_back(key, at_ms, actor))
                changed.append(key.id)
            elif standing is not None and standing.revoked_at_ms is None and key.revoked_at_ms:
                self._keys[key.id] = structs.replace(standing, revoked_at_ms=key.revoked_at_ms)
                self._acts.append(key_revoked(key.id, standing.tenant, at_ms, actor))
                changed.append(key.id)
        return changed

    async def all(self) -> list[ApiKey]:
        """Return every key ever made, oldest first; expired and revoked ones are kept."""
        return sorted(self._keys.values(), key=lambda key: (key.created_at_ms, key.id))

    async def revision(self) -> int:
        """Return a number that every `add` and `revoke` raises."""
        revoked = sum(key.revoked_at_ms is not None for key in self._keys.values())
        return len(self._keys) + revoked

    async def touch(self, used: Mapping[str, int]) -> None:
        """Note when keys, by id, were last used; a time never goes back."""
        for key_id, at_ms in used.items():
            key = self._keys.get(key_id)
            if key is not None and at_ms > (key.last_used_at_ms or 0):
                self._keys[key_id] = structs.replace(key, last_used_at_ms=at_ms)
