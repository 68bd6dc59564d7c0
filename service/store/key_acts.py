"""How the trail tells of acts on keys, the same from every store; never a secret or a digest."""

from __future__ import annotations

from service.domain.access import AdminAct, ApiKey
from service.domain.experiment import DEFAULT_TENANT


def key_created(key: ApiKey, actor: str) -> AdminAct:
    """Return the act of making an API key."""
    return AdminAct(
        tenant=key.tenant,
        at_ms=key.created_at_ms,
        actor=actor,
        action="create key",
        subject=key.id,
        detail={
            "name": key.name,
            "scopes": sorted(key.scopes),
            "expires_at_ms": key.expires_at_ms,
            "rate_max": key.rate_max,
        },
    )


def key_put_back(key: ApiKey, at_ms: int, actor: str) -> AdminAct:
    """Return the act of inserting again an API key that SQL had lost."""
    detail = key_created(key, actor).detail | {
        "created_at_ms": key.created_at_ms,
        "revoked_at_ms": key.revoked_at_ms,
    }
    return AdminAct(
        tenant=key.tenant,
        at_ms=at_ms,
        actor=actor,
        action="put back key",
        subject=key.id,
        detail=detail,
    )


def key_revoked(key_id: str, tenant: int, at_ms: int, actor: str) -> AdminAct:
    """Return the act of revoking an API key."""
    return AdminAct(tenant=tenant, at_ms=at_ms, actor=actor, action="revoke key", subject=key_id)


def signing_key_rotated(key_id: int, active_from_ms: int, at_ms: int, actor: str) -> AdminAct:
    """Return the act of adding a signing key, which all tenants share."""
    return AdminAct(
        tenant=DEFAULT_TENANT,
        at_ms=at_ms,
        actor=actor,
        action="rotate signing key",
        subject=str(key_id),
        detail={"active_from_ms": active_from_ms},
    )
