"""Webhooks and their deliveries in memory: the reference of the SQL ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from service.domain.access import AdminAct
from service.domain.webhook import WEBHOOKS_MAX, Delivery, Webhook
from service.errors import StateConflictError, WebhookNotFoundError
from service.store.memory_access import MemoryActStore
from service.store.webhook_ports import Due


class MemoryWebhookStore:
    """See `service.store.webhook_ports.WebhookStore`."""

    def __init__(self, acts: MemoryActStore) -> None:
        self._acts = acts
        self._webhooks: dict[tuple[int, str], Webhook] = {}
        self._deliveries: dict[tuple[int, str, str], Delivery] = {}

    async def put(self, webhook: Webhook, act: AdminAct) -> Webhook:
        """Insert a webhook, or give the one of its id another url; return what stands then."""
        standing = self._webhooks.get((webhook.tenant, webhook.id))
        if standing is not None:
            webhook = replace(standing, url=webhook.url, gone_at_ms=None)
        elif len(await self.of_tenant(webhook.tenant)) >= WEBHOOKS_MAX:
            raise StateConflictError(f"there may be {WEBHOOKS_MAX} webhooks at most")
        self._webhooks[webhook.tenant, webhook.id] = webhook
        self._acts.append(act)
        return webhook

    async def get(self, tenant: int, webhook_id: str) -> Webhook:
        """Return a tenant's webhook, or raise `WebhookNotFoundError`."""
        try:
            return self._webhooks[tenant, webhook_id]
        except KeyError:
            raise WebhookNotFoundError("no webhook has this id") from None

    async def of_tenant(self, tenant: int) -> list[Webhook]:
        """Return the webhooks of a tenant, in order of id."""
        own = [each for each in self._webhooks.values() if each.tenant == tenant]
        return sorted(own, key=lambda each: each.id)

    async def remove(self, tenant: int, webhook_id: str, act: AdminAct) -> None:
        """Delete a webhook and its deliveries, or raise `WebhookNotFoundError`."""
        await self.get(tenant, webhook_id)
        del self._webhooks[tenant, webhook_id]
        for key in [key for key in self._deliveries if key[:2] == (tenant, webhook_id)]:
            del self._deliveries[key]
        self._acts.append(act)

    async def enqueue(self, deliveries: Sequence[Delivery]) -> None:
        """Insert deliveries; those that are there, by id and webhook, are left alone."""
        for each in deliveries:
            if (each.tenant, each.webhook) in self._webhooks:
                self._deliveries.setdefault((each.tenant, each.webhook, each.id), each)

    async def due(self, now_ms: int, count: int) -> list[Due]:
        """Return at most `count` deliveries to be tried now, each tenant's oldest first."""
        waiting = [each for each in self._pending() if each.next_at_ms <= now_ms]
        waiting.sort(key=lambda each: each.next_at_ms)
        before: Counter[int] = Counter()  # By tenant.
        turns = []
        for each in waiting:
            turns.append((before[each.tenant], each.next_at_ms, each))
            before[each.tenant] += 1
        turns.sort(key=lambda turn: turn[:2])
        return [Due(d, self._webhooks[d.tenant, d.webhook]) for *_, d in turns[:count]]

    async def settle(self, delivery: Delivery, *, gone_url: str | None = None) -> None:
        """Write what became of a delivery, unless it has ended already."""
        place = (delivery.tenant, delivery.webhook)
        known = self._deliveries.get((*place, delivery.id))
        if known is not None and known.is_pending:
            self._deliveries[(*place, delivery.id)] = delivery
        webhook = self._webhooks.get(place)
        if webhook is not None and webhook.url == gone_url:
            at_ms = delivery.given_up_at_ms
            self._webhooks[place] = replace(webhook, gone_at_ms=at_ms)
            for each in self._pending():
                if (each.tenant, each.webhook) == place:
                    self._deliveries[(*place, each.id)] = replace(each, given_up_at_ms=at_ms)

    async def latest(self, tenant: int, webhook_id: str, count: int) -> list[Delivery]:
        """Return the last deliveries of a webhook, newest first."""
        own = [d for key, d in self._deliveries.items() if key[:2] == (tenant, webhook_id)]
        return sorted(own, key=lambda each: (-each.created_at_ms, each.id))[:count]

    async def pending(self) -> int:
        """Return how many deliveries of all tenants are neither delivered nor given up."""
        return len(self._pending())

    async def forget(self, before_ms: int) -> int:
        """Delete deliveries made before a time; return how many."""
        old = [key for key, each in self._deliveries.items() if each.created_at_ms < before_ms]
        for key in old:
            del self._deliveries[key]
        return len(old)

    def _pending(self) -> list[Delivery]:
        return [each for each in self._deliveries.values() if each.is_pending]
