"""The use case behind the routes of webhooks: who is told, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from service.domain.access import AdminAct
from service.domain.clock import Clock
from service.domain.webhook import Delivery, Webhook, check_url, message_id
from service.errors import InvalidInputError, StateConflictError
from service.store.webhook_ports import WebhookStore
from service.webhooks.messages import Message
from service.webhooks.signing import secret_text

DELIVERIES_SHOWN = 20
TEST_TYPE = "webhook.test"


class Made(NamedTuple):
    """A webhook; its secret is shown only when it is made."""

    webhook: Webhook
    secret: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    """Makes, shows and removes webhooks; the worker delivers."""

    store: WebhookStore
    make_secret: Callable[[], bytes]
    private_hosts: Collection[str]
    clock: Clock

    async def put(self, tenant: int, webhook_id: str, url: str, actor: str) -> Made:
        """Make a webhook, or give it another url; raises `InvalidInputError` for a bad one."""
        try:
            check_url(url, self.private_hosts)
        except ValueError as error:
            raise InvalidInputError(str(error)) from None
        webhook = Webhook(
            id=webhook_id,
            tenant=tenant,
            url=url,
            secret=self.make_secret(),
            created_at_ms=self.clock.now_ms(),
            created_by=actor,
        )
        standing = await self.store.put(webhook, self._act(tenant, webhook_id, "put", actor))
        is_new = standing.secret == webhook.secret
        return Made(standing, secret_text(standing.secret) if is_new else None)

    async def of_tenant(self, tenant: int) -> list[Webhook]:
        """Return a tenant's webhooks."""
        return await self.store.of_tenant(tenant)

    async def show(self, tenant: int, webhook_id: str) -> tuple[Webhook, Sequence[Delivery]]:
        """Return a webhook and its last deliveries, or raise `WebhookNotFoundError`."""
        webhook = await self.store.get(tenant, webhook_id)
        return webhook, await self.store.latest(tenant, webhook_id, DELIVERIES_SHOWN)

    async def remove(self, tenant: int, webhook_id: str, actor: str) -> None:
        """Forget a webhook and its secret, or raise `WebhookNotFoundError`."""
        await self.store.remove(tenant, webhook_id, self._act(tenant, webhook_id, "remove", actor))

    async def test(self, tenant: int, webhook_id: str) -> Delivery:
        """Have a webhook told something that says nothing, and return the delivery.

        Raises `StateConflictError` while the last messages all wait: one more would say nothing.
        """
        webhook = await self.store.get(tenant, webhook_id)
        latest = await self.store.latest(tenant, webhook_id, DELIVERIES_SHOWN)
        if sum(delivery.is_pending for delivery in latest) == DELIVERIES_SHOWN:
            raise StateConflictError("the last messages wait still: see what becomes of them")
        now_ms = self.clock.now_ms()
        message = Message(
            id=message_id(TEST_TYPE, tenant, webhook_id, now_ms),
            tenant=tenant,
            type=TEST_TYPE,
            at_ms=now_ms,
            data={"webhook": webhook_id},
        )
        # Asking for it is reason enough to try one that was gone.
        (delivery,) = message.to([replace(webhook, gone_at_ms=None)])
        await self.store.enqueue([delivery])
        return delivery

    def _act(self, tenant: int, webhook_id: str, what: str, actor: str) -> AdminAct:
        """Return the act for the trail; a url may hold a secret, so it is not in there."""
        return AdminAct(
            tenant=tenant,
            at_ms=self.clock.now_ms(),
            actor=actor,
            action=f"{what} webhook",
            subject=webhook_id,
        )
