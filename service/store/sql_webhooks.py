"""Webhooks and their deliveries in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, update

from service.domain.access import AdminAct
from service.domain.webhook import WEBHOOKS_MAX, Delivery, Webhook
from service.errors import StateConflictError, WebhookNotFoundError
from service.store.sql_acts import insert_act
from service.store.sql_database import SqlDatabase
from service.store.sql_statements import insert_or_ignore
from service.store.sql_tables_webhooks import IS_PENDING, webhook_deliveries, webhooks
from service.store.webhook_ports import Due

_DELIVERIES = webhook_deliveries.c


class SqlWebhookStore:
    """See `service.store.webhook_ports.WebhookStore`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def put(self, webhook: Webhook, act: AdminAct) -> Webhook:
        """Insert a webhook, or give the one of its id another url; return what stands then."""
        change = partial(_put, webhook=webhook, act=act)
        return await self._database.write(change, is_repeatable=False)

    async def get(self, tenant: int, webhook_id: str) -> Webhook:
        """Return a tenant's webhook, or raise `WebhookNotFoundError`."""
        found = await self._database.read(partial(_find, tenant=tenant, webhook_id=webhook_id))
        if found is None:
            raise WebhookNotFoundError("no webhook has this id")
        return found

    async def of_tenant(self, tenant: int) -> list[Webhook]:
        """Return the webhooks of a tenant, in order of id."""
        return await self._database.read(partial(_of_tenant, tenant=tenant))

    async def remove(self, tenant: int, webhook_id: str, act: AdminAct) -> None:
        """Delete a webhook and its deliveries, or raise `WebhookNotFoundError`."""
        change = partial(_remove, tenant=tenant, webhook_id=webhook_id, act=act)
        await self._database.write(change, is_repeatable=False)

    async def enqueue(self, deliveries: Sequence[Delivery]) -> None:
        """Insert deliveries; those that are there, by id and webhook, are left alone."""
        if deliveries:
            await self._database.write(partial(_enqueue, deliveries=deliveries))

    async def due(self, now_ms: int, count: int) -> list[Due]:
        """Return at most `count` deliveries to be tried now, each tenant's oldest first."""
        return await self._database.read(partial(_due, now_ms=now_ms, count=count))

    async def settle(self, delivery: Delivery, *, gone_url: str | None = None) -> None:
        """Write what became of a delivery, unless it has ended already."""
        await self._database.write(partial(_settle, delivery=delivery, gone_url=gone_url))

    async def latest(self, tenant: int, webhook_id: str, count: int) -> list[Delivery]:
        """Return the last deliveries of a webhook, newest first."""
        query = partial(_latest, tenant=tenant, webhook_id=webhook_id, count=count)
        return await self._database.read(query)

    async def pending(self) -> int:
        """Return how many deliveries of all tenants are neither delivered nor given up."""
        query = select(func.count()).select_from(webhook_deliveries).where(IS_PENDING)
        return await self._database.read(lambda connection: connection.scalar(query) or 0)

    async def forget(self, before_ms: int) -> int:
        """Delete deliveries made before a time; return how many."""
        statement = delete(webhook_deliveries).where(_DELIVERIES.created_at_ms < before_ms)
        return await self._database.write(lambda c: c.execute(statement).rowcount)


def _is(tenant: int, webhook_id: str) -> ColumnElement[bool]:
    return and_(webhooks.c.tenant == tenant, webhooks.c.id == webhook_id)


def _find(connection: Connection, tenant: int, webhook_id: str) -> Webhook | None:
    row = connection.execute(select(webhooks).where(_is(tenant, webhook_id))).one_or_none()
    return None if row is None else _webhook(row)


def _of_tenant(connection: Connection, tenant: int) -> list[Webhook]:
    query = select(webhooks).where(webhooks.c.tenant == tenant).order_by(webhooks.c.id)
    return [_webhook(row) for row in connection.execute(query)]


def _put(connection: Connection, webhook: Webhook, act: AdminAct) -> Webhook:
    insert_act(connection, act)
    standing = _find(connection, webhook.tenant, webhook.id)
    if standing is not None:
        changes = {"url": webhook.url, "gone_at_ms": None}
        statement = update(webhooks).where(_is(webhook.tenant, webhook.id)).values(changes)
        connection.execute(statement)
        return msgspec.structs.replace(standing, url=webhook.url, gone_at_ms=None)
    if len(_of_tenant(connection, webhook.tenant)) >= WEBHOOKS_MAX:
        raise StateConflictError(f"there may be {WEBHOOKS_MAX} webhooks at most")
    inserting = insert_or_ignore(connection, webhooks).values(msgspec.structs.asdict(webhook))
    connection.execute(inserting)
    # Who made the same one meanwhile knows its secret, and this caller does not.
    return _find(connection, webhook.tenant, webhook.id) or webhook


def _remove(connection: Connection, tenant: int, webhook_id: str, act: AdminAct) -> None:
    statement = delete(webhooks).where(_is(tenant, webhook_id))
    if not connection.execute(statement).rowcount:
        raise WebhookNotFoundError("no webhook has this id")
    connection.execute(delete(webhook_deliveries).where(_of(tenant, webhook_id)))
    insert_act(connection, act)


def _of(tenant: int, webhook_id: str) -> ColumnElement[bool]:
    return and_(_DELIVERIES.tenant == tenant, _DELIVERIES.webhook == webhook_id)


def _enqueue(connection: Connection, deliveries: Sequence[Delivery]) -> None:
    tenants = {delivery.tenant for delivery in deliveries}
    query = select(webhooks.c.tenant, webhooks.c.id).where(webhooks.c.tenant.in_(tenants))
    places = {tuple(row) for row in connection.execute(query)}
    wanted = [d for d in deliveries if (d.tenant, d.webhook) in places]
    if wanted:
        rows = [msgspec.structs.asdict(delivery) for delivery in wanted]
        connection.execute(insert_or_ignore(connection, webhook_deliveries).values(rows))


def _due(connection: Connection, now_ms: int, count: int) -> list[Due]:
    before = func.row_number().over(
        partition_by=_DELIVERIES.tenant, order_by=_DELIVERIES.next_at_ms
    )
    query = (
        select(webhook_deliveries, webhooks)
        .join(
            webhooks,
            and_(webhooks.c.tenant == _DELIVERIES.tenant, webhooks.c.id == _DELIVERIES.webhook),
        )
        .where(IS_PENDING, _DELIVERIES.next_at_ms <= now_ms)
        .order_by(before, _DELIVERIES.next_at_ms)
        .limit(count)
    )
    width = len(_DELIVERIES)
    return [Due(_delivery(row[:width]), _webhook(row[width:])) for row in connection.execute(query)]


def _settle(connection: Connection, delivery: Delivery, gone_url: str | None) -> None:
    values = msgspec.structs.asdict(delivery)
    changes = {
        name: values[name]
        for name in ("next_at_ms", "attempts", "status", "delivered_at_ms", "given_up_at_ms")
    }
    statement = (
        update(webhook_deliveries)
        .where(_of(delivery.tenant, delivery.webhook), _DELIVERIES.id == delivery.id, IS_PENDING)
        .values(changes)
    )
    connection.execute(statement)
    if gone_url is not None:
        _let_go(connection, delivery, gone_url)


def _let_go(connection: Connection, delivery: Delivery, gone_url: str) -> None:
    """Tell a webhook nothing more; what waited for it is given up."""
    at_ms = delivery.given_up_at_ms
    here = and_(_is(delivery.tenant, delivery.webhook), webhooks.c.url == gone_url)
    if not connection.execute(update(webhooks).where(here).values(gone_at_ms=at_ms)).rowcount:
        return
    waiting = and_(_of(delivery.tenant, delivery.webhook), IS_PENDING)
    connection.execute(update(webhook_deliveries).where(waiting).values(given_up_at_ms=at_ms))


def _latest(connection: Connection, tenant: int, webhook_id: str, count: int) -> list[Delivery]:
    query = (
        select(webhook_deliveries)
        .where(_of(tenant, webhook_id))
        .order_by(_DELIVERIES.created_at_ms.desc(), _DELIVERIES.id)
        .limit(count)
    )
    return [_delivery(row) for row in connection.execute(query)]


def _webhook(row: Sequence[Any]) -> Webhook:
    fields = dict(zip(webhooks.c.keys(), row, strict=True))
    return Webhook(**{**fields, "secret": bytes(fields["secret"])})


def _delivery(row: Sequence[Any]) -> Delivery:
    return Delivery(**dict(zip(_DELIVERIES.keys(), row, strict=True)))
