"""Who may do what: API keys, their scopes, and the principal that a request acts as."""

from __future__ import annotations

import re
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from msgspec import Struct, field

from service.domain.experiment import DEFAULT_TENANT

KEY_MARK = "pb"  # So that secret scanners and people know one when they see it.
KEY_ID_LENGTH = 12
KEY_SECRET_BYTES = 32
KEY_SECRET_LENGTH = 43  # 32 bytes in URL-safe base64 without padding
KEY_TEXT_PATTERN = rf"^pb_[a-z2-7]{{{KEY_ID_LENGTH}}}_[A-Za-z0-9_-]{{{KEY_SECRET_LENGTH}}}$"
TENANT_PATTERN = r"^[a-z][a-z0-9-]{0,39}$"
DEFAULT_TENANT_NAME = "default"
KEY_NAME_LENGTH_MAX = 100
RATE_MAX = 10_000_000
_KEY_TEXT = re.compile(rf"{KEY_MARK}_([a-z2-7]{{{KEY_ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})")


class Scope(StrEnum):
    """What a key may be used for; a key has one or several, and none implies another."""

    CHOOSE = "choose"
    REWARD = "reward"
    REPORT = "report"
    ADMIN = "admin"
    METRICS = "metrics"


ALL_SCOPES = frozenset(Scope)
# What these show or change is the whole service's, so other tenants' keys never have them.
SERVICE_SCOPES = frozenset({Scope.METRICS})


class Tenant(Struct, frozen=True):
    """One customer of the service: every experiment, key and row is one tenant's."""

    number: int
    name: str


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key as it is kept: the secret itself is shown once, when the key is made."""

    id: str
    digest: bytes  # SHA-256 of the secret's text
    tenant: int
    scopes: frozenset[Scope]
    name: str
    created_at_ms: int
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None
    last_used_at_ms: int | None = None
    rate_max: int | None = None  # Decisions and rewards a second; None: no limit of its own.

    def is_valid(self, now_ms: int) -> bool:
        """Whether it opens anything at a time."""
        is_expired = self.expires_at_ms is not None and now_ms >= self.expires_at_ms
        return self.revoked_at_ms is None and not is_expired

    def opens_with(self, secret: str) -> bool:
        """Whether this is its secret; takes as long for every wrong one."""
        return compare_digest(digest_of(secret), self.digest)


class AdminAct(Struct, frozen=True, kw_only=True):
    """An administrative act that is not about one experiment, as the audit trail keeps it."""

    tenant: int
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: dict[str, Any] = field(default_factory=dict)
    id: int = 0  # Given by the store.


class Principal(Struct, frozen=True):
    """Whom a request acts as; `key_id` is None while the service runs open."""

    tenant: int
    scopes: frozenset[Scope]
    key_id: str | None = None


# Anybody on this machine, while the service has no keys and listens on the loopback only.
OPEN_PRINCIPAL = Principal(DEFAULT_TENANT, ALL_SCOPES)


def digest_of(secret: str) -> bytes:
    """Return what is kept of a secret: 256 random bits need no salt and no slow hash."""
    return sha256(secret.encode()).digest()


def key_text(key_id: str, secret: str) -> str:
    """Return a key as its holder writes it."""
    return f"{KEY_MARK}_{key_id}_{secret}"


def parts_of(text: str) -> tuple[str, str] | None:
    """Return the public id and the secret of a key as written, or None if it is none."""
    found = _KEY_TEXT.fullmatch(text)
    return None if found is None else (found[1], found[2])
