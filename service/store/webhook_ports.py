"""The promises about webhooks: where they are kept, and how a message is posted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from service.domain.access import AdminAct
from service.domain.webhook import Delivery, Webhook


class DeliveryError(Exception):
    """A webhook's server did not answer, or may not be asked; the message names no address."""


class Due(NamedTuple):
    """A delivery whose time has come, and the webhook that it is for."""

    delivery: Delivery
    webhook: Webhook


class WebhookStore(Protocol):
    """Webhooks and their deliveries; each change of a webhook stands in the trail of acts too."""

    async def put(self, webhook: Webhook, act: AdminAct) -> Webhook:
        """Insert a webhook, or give the one of its id another url; return what stands then.

        The secret and the time of the first `put` stay; one that was gone is told again. Raises
        `StateConflictError` when the tenant has `WEBHOOKS_MAX` already.
        """
        ...

    async def get(self, tenant: int, webhook_id: str) -> Webhook:
        """Return a tenant's webhook, or raise `WebhookNotFoundError`."""
        ...

    async def of_tenant(self, tenant: int) -> list[Webhook]:
        """Return the webhooks of a tenant, in order of id."""
        ...

    async def remove(self, tenant: int, webhook_id: str, act: AdminAct) -> None:
        """Delete a webhook and its deliveries, or raise `WebhookNotFoundError`."""
        ...

    async def enqueue(self, deliveries: Sequence[Delivery]) -> None:
        """Insert deliveries; those that are there, by id and webhook, are left alone.

        Those for a webhook that was removed meanwhile are dropped.
        """
        ...

    async def due(self, now_ms: int, count: int) -> list[Due]:
        """Return at most `count` deliveries to be tried now, each tenant's oldest first.

        Tenants take turns, so that none with many keeps the others waiting.
        """
        ...

    async def settle(self, delivery: Delivery, *, gone_url: str | None = None) -> None:
        """Write what became of a delivery, unless it has ended already.

        A `gone_url` wants no more: nor does its webhook, unless that has moved meanwhile.
        """
        ...

    async def latest(self, tenant: int, webhook_id: str, count: int) -> list[Delivery]:
        """Return the last deliveries of a webhook, newest first."""
        ...

    async def pending(self) -> int:
        """Return how many deliveries of all tenants are neither delivered nor given up."""
        ...

    async def forget(self, before_ms: int) -> int:
        """Delete deliveries made before a time; return how many. All of them have ended by then."""
        ...


class Post(Protocol):
    """How a message leaves the service."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post a body and return the status of the answer; redirects are not followed.

        Raises
        ------
        DeliveryError
            There was no answer in time, or the url leads where no webhook may be; the message
            says why without an address.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
