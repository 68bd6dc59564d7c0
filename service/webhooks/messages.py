"""What webhooks are told, put down for delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from service.domain.webhook import Delivery, Webhook
from service.store.webhook_ports import WebhookStore

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened; the same `id` is never told twice to one webhook."""

    id: str
    tenant: int
    type: str
    at_ms: int
    data: Mapping[str, object]

    @property
    def body(self) -> str:
        """What is sent."""
        at = (_EPOCH + timedelta(milliseconds=self.at_ms)).isoformat(timespec="milliseconds")
        document = {
            "type": self.type,
            "timestamp": at.replace("+00:00", "Z"),
            "data": self.data,
        }
        return msgspec.json.encode(document).decode()

    def to(self, webhooks: Sequence[Webhook]) -> list[Delivery]:
        """Return a delivery for each webhook that still wants to hear."""
        return [
            Delivery(
                id=self.id,
                tenant=webhook.tenant,
                webhook=webhook.id,
                body=self.body,
                created_at_ms=self.at_ms,
                next_at_ms=self.at_ms,
            )
            for webhook in webhooks
            if webhook.gone_at_ms is None
        ]


class Announcer:
    """Puts a message down for every webhook of its tenant."""

    def __init__(self, store: WebhookStore) -> None:
        self._store = store

    async def announce(self, message: Message) -> None:
        """Return once SQL has the message; it is told as soon as the worker comes to it."""
        await self._store.enqueue(message.to(await self._store.of_tenant(message.tenant)))
