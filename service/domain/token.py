"""The decision id: a signed, URL-safe token of 72 characters that starts with the decision key."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping
from hashlib import blake2b
from hmac import compare_digest

from msgspec import Struct

from service.domain.decision import COUNTED_SOURCES, EPOCH_MS, Decision

TOKEN_LENGTH = 72
SECRET_BYTES = 32
KEY_IDS_MAX = 31  # Five bits of the replay memory.
_RAW_BYTES = 54
_MAC_BYTES = 16
# key, tenant, experiment, variant, milliseconds (8 + 32 bits), version, key id, flags, reserved
_HEAD = struct.Struct(">16sIIHBIIBBx")
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_COUNTED, _HOLDOUT = 1, 2


class SigningKey(Struct, frozen=True):
    """A secret that signs tokens from a time on; it verifies as long as it is kept."""

    id: int
    secret: bytes
    active_from_ms: int


class Claim(Struct, frozen=True, gc=False):
    """What a verified token says of its decision."""

    key: bytes
    tenant: int
    experiment: int
    variant: int
    decided_at_ms: int
    version: int
    key_id: int
    is_counted: bool
    holdout: bool


class TokenCodec:
    """Signs with the newest active key and verifies with any that is held."""

    def __init__(self, secrets: Mapping[int, bytes], signing_id: int) -> None:
        self._secrets = dict(secrets)
        self.signing_id = signing_id

    def can_sign(self, key_id: int) -> bool:
        """Whether the key is held."""
        return key_id in self._secrets

    def encode(self, decision: Decision) -> str:
        """Return the decision's id; `KeyError` when its signing key is not held."""
        age = decision.decided_at_ms - EPOCH_MS
        flags = _COUNTED if decision.source in COUNTED_SOURCES else 0
        if decision.holdout:
            flags |= _HOLDOUT
        head = _HEAD.pack(
            decision.key,
            decision.tenant,
            decision.experiment,
            decision.variant,
            age >> 32,
            age & 0xFFFFFFFF,
            decision.version,
            decision.key_id,
            flags,
        )
        mac = blake2b(head, digest_size=_MAC_BYTES, key=self._secrets[decision.key_id]).digest()
        return binascii.b2a_base64(head + mac, newline=False).translate(_TO_URL).decode()

    def decode(self, token: str) -> Claim | None:
        """Return what a token of ours says, or None: forged, foreign, or not canonically spelt."""
        raw = _raw_bytes(token)
        if raw is None:
            return None
        head = raw[:-_MAC_BYTES]
        key, tenant, experiment, variant, high, low, version, key_id, flags = _HEAD.unpack(head)
        secret = self._secrets.get(key_id)
        if secret is None:
            return self.unverified(key_id)
        mac = blake2b(head, digest_size=_MAC_BYTES, key=secret).digest()
        if not compare_digest(mac, raw[-_MAC_BYTES:]):
            return None
        return Claim(
            key=key,
            tenant=tenant,
            experiment=experiment,
            variant=variant,
            decided_at_ms=EPOCH_MS + (high << 32) + low,
            version=version,
            key_id=key_id,
            is_counted=bool(flags & _COUNTED),
            holdout=bool(flags & _HOLDOUT),
        )

    def unverified(self, key_id: int) -> Claim | None:
        """Return what to say of a token whose key is not held: that it is none of ours."""
        del key_id
        return None


def _raw_bytes(token: str) -> bytes | None:
    """Return the 54 bytes behind a canonical spelling: 72 of the URL-safe alphabet, no other."""
    if len(token) != TOKEN_LENGTH or not token.isascii():
        return None
    spelt = token.encode()
    try:
        raw = binascii.a2b_base64(spelt.translate(_FROM_URL), strict_mode=True)
    except binascii.Error:
        return None
    if len(raw) != _RAW_BYTES:
        return None
    return raw if b"+" not in spelt and b"/" not in spelt else None
