"""Put signing keys back that SQL lost by failing over to an older state."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.token import SigningKey
from service.logs import logger
from service.store.access_ports import SigningKeyStore

_log = logger(__name__)


async def put_back(
    store: SigningKeyStore, standing: Sequence[SigningKey], held: Sequence[SigningKey]
) -> Sequence[SigningKey]:
    """Return the keys that stand in SQL, with those that only this process held until now.

    Signing keys are never deleted: what SQL does not know any more, it has lost.
    """
    known = {key.id: key.secret for key in standing}
    lost = [key for key in held if key.id not in known]
    for key in held:
        if known.get(key.id, key.secret) != key.secret:
            _log.error("signing_key_replaced", key_id=key.id)  # Its tokens verify no more.
    if not lost:
        return standing
    for key in lost:
        await store.add(key)
    _log.warning("signing_keys_put_back", key_ids=[key.id for key in lost])
    return await store.keys()
