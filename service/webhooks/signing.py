"""Signatures as of Standard Webhooks 1.0.0, for which receivers find libraries."""

from __future__ import annotations

import hmac
from base64 import b64encode
from hashlib import sha256

SECRET_MARK = "whsec_"  # noqa: S105  What a secret's text begins with.
_VERSION = "v1"


def secret_text(secret: bytes) -> str:
    """Return a secret as its holder writes it."""
    return SECRET_MARK + b64encode(secret).decode()


def signed_headers(message_id: str, secret: bytes, body: bytes, at_seconds: int) -> dict[str, str]:
    """Return the headers that prove who sent a body, and when."""
    signed = f"{message_id}.{at_seconds}.".encode() + body
    signature = b64encode(hmac.digest(secret, signed, sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": f"{_VERSION},{signature}",
    }
