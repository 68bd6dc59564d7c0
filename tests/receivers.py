"""What webhooks post to, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.store.webhook_ports import DeliveryError


@dataclass
class Receiver:
    """Answers what it is told to; 0 is no answer at all, and a broken host breaks the sending."""

    status: int = 204
    broken: str = "\n"
    received: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Note a message and answer it."""
        self.received.append((url, headers, body))
        if self.broken in url:
            raise UnicodeError(url)
        if not self.status:
            raise DeliveryError("no connection")
        return self.status

    async def close(self) -> None:
        """Close nothing."""
