"""The promises about tenants, keys and administrative acts; all stores keep them alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from service.domain.access import AdminAct, ApiKey, Tenant
from service.domain.token import SigningKey


class ApiKeyStore(Protocol):
    """Tenants and their API keys; each change of a key stands in the trail of acts too."""

    async def ensure_tenant(self, name: str) -> Tenant:
        """Return the tenant of a name; it is made when there is none."""
        ...

    async def tenants(self) -> list[Tenant]:
        """Return all tenants, in order of number; `default` is number 1."""
        ...

    async def add(self, key: ApiKey, actor: str) -> None:
        """Insert a key and its act in one transaction.

        Raises `StateConflictError` when the id is taken.
        """
        ...

    async def revoke(self, key_id: str, at_ms: int, actor: str) -> bool:
        """Revoke a key and write the act, in one transaction.

        Returns
        -------
        bool
            False when there is no such key, or it was revoked before; then nothing changes.
        """
        ...

    async def put_back(
        self, tenants: Sequence[Tenant], keys: Sequence[ApiKey], at_ms: int, actor: str
    ) -> list[str]:
        """Write again what SQL lost, each key with an act, in one transaction.

        Tenants and keys that stand are left alone, but for a revocation that they lack. A tenant
        whose number or name is another's by now is left out, and so are its keys.

        Returns
        -------
        list of str
            The ids of the keys that were inserted or revoked.
        """
        ...

    async def all(self) -> list[ApiKey]:
        """Return every key ever made, oldest first; expired and revoked ones are kept."""
        ...

    async def revision(self) -> int:
        """Return a number that every `add` and `revoke` raises; cheap enough to ask each second.

        A lower one than before tells that the store went back to an older state.
        """
        ...

    async def touch(self, used: Mapping[str, int]) -> None:
        """Note when keys, by id, were last used.

        A time never goes back; ids that are unknown are passed over.
        """
        ...


class ActStore(Protocol):
    """The audit trail of administrative acts that are not about one experiment."""

    async def record(self, act: AdminAct) -> None:
        """Append an act; its `id` is given here."""
        ...

    async def of_tenant(self, tenant: int, limit: int, after: int = 0) -> list[AdminAct]:
        """Return at most `limit` acts of a tenant, oldest first; `after` is the last id seen."""
        ...


class SigningKeyStore(Protocol):
    """The secrets that sign decision tokens."""

    async def keys(self) -> list[SigningKey]:
        """Return all keys, oldest first; makes the first one when there is none."""
        ...

    async def now_ms(self) -> int:
        """Return the time by the store's own clock.

        All processes share it: one whose clock is ahead must not sign with what others do not
        know yet.
        """
        ...

    async def add(self, key: SigningKey, act: AdminAct | None = None) -> bool:
        """Insert a key, with the act that made it; False when its id is taken."""
        ...


class HeldKeys(Struct, frozen=True):
    """What an API process needs to know of keys to serve while SQL is down."""

    signing: Sequence[SigningKey]
    api: Sequence[ApiKey]
    revision: int  # Of the API keys.
    tenants: Sequence[Tenant] = ()


class KeyCache(Protocol):
    """A copy of the keys beside the outbox; calls block for the disk."""

    def load(self) -> HeldKeys | None:
        """Return the copy; None when there is none that can be trusted."""
        ...

    def save(self, keys: HeldKeys) -> None:
        """Replace the copy, so that it survives a power cut.

        Raises `OSError` when it cannot be written; then the former copy stands.
        """
        ...
