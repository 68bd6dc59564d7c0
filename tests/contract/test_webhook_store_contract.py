"""Every store of webhooks keeps secrets, tells nobody twice, and lets no tenant see another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from service.domain.access import AdminAct
from service.domain.webhook import WEBHOOKS_MAX, Delivery, Webhook
from service.errors import StateConflictError, WebhookNotFoundError
from tests.sql_stores import BACKENDS, START_MS, Stores, memory_stores, opened, sql_stores, url_of

ACT = AdminAct(tenant=1, at_ms=START_MS, actor="ada", action="put webhook", subject="data-team")
HOOK = Webhook(
    id="data-team",
    tenant=1,
    url="https://hooks.example.com/",
    secret=b"\x00\xff" * 16,
    created_at_ms=START_MS,
    created_by="ada",
)


@pytest.fixture(params=BACKENDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "memory":
        yield memory_stores()
        return
    async with opened(url_of(request.param, request, tmp_path)) as database:
        yield sql_stores(database)


def a_delivery(number: int = 1, webhook: str = "data-team") -> Delivery:
    return Delivery(
        id=f"msg_{number}",
        tenant=1,
        webhook=webhook,
        body='{"größe":1}',
        created_at_ms=START_MS + number,
        next_at_ms=START_MS + number,
    )


async def test_a_moved_webhook_keeps_its_secret_and_is_told_again(stores: Stores) -> None:
    await stores.webhooks.put(HOOK, ACT)
    await stores.webhooks.enqueue([a_delivery()])
    gone = replace(a_delivery(), attempts=1, status=410, given_up_at_ms=START_MS + 5)
    await stores.webhooks.settle(gone, gone_url=HOOK.url)
    moved = replace(HOOK, url="https://other.example.com/", secret=b"x" * 32, created_by="eve")

    standing = await stores.webhooks.put(moved, ACT)

    assert standing == replace(HOOK, url=moved.url)
    assert await stores.webhooks.get(1, "data-team") == standing
    assert [act.action for act in await stores.acts.of_tenant(1, 9)] == ["put webhook"] * 2


async def test_webhooks_are_the_tenants_own(stores: Stores) -> None:
    await stores.webhooks.put(HOOK, ACT)

    assert await stores.webhooks.of_tenant(2) == []
    with pytest.raises(WebhookNotFoundError):
        await stores.webhooks.get(2, "data-team")
    with pytest.raises(WebhookNotFoundError):
        await stores.webhooks.remove(2, "data-team", ACT)


async def test_a_tenant_has_ten_webhooks_at_most(stores: Stores) -> None:
    for number in range(WEBHOOKS_MAX):
        await stores.webhooks.put(replace(HOOK, id=f"w{number}"), ACT)

    with pytest.raises(StateConflictError):
        await stores.webhooks.put(replace(HOOK, id="another"), ACT)
    assert len(await stores.webhooks.of_tenant(1)) == WEBHOOKS_MAX
    assert len(await stores.acts.of_tenant(1, 99)) == WEBHOOKS_MAX


async def test_what_is_due_comes_oldest_first_with_its_webhook(stores: Stores) -> None:
    await stores.webhooks.put(HOOK, ACT)
    await stores.webhooks.enqueue([a_delivery(3), a_delivery(1), a_delivery(2)])
    await stores.webhooks.enqueue([replace(a_delivery(1), body="another")])
    done = replace(a_delivery(1), attempts=1, status=204, delivered_at_ms=START_MS + 9)
    await stores.webhooks.settle(done)

    due = await stores.webhooks.due(START_MS + 2, 9)

    assert due == [(a_delivery(2), HOOK)]
    assert await stores.webhooks.pending() == 2
    assert await stores.webhooks.latest(1, "data-team", 2) == [a_delivery(3), a_delivery(2)]
    assert (await stores.webhooks.latest(1, "data-team", 9))[2] == done


async def test_who_is_gone_is_told_nothing_more(stores: Stores) -> None:
    await stores.webhooks.put(HOOK, ACT)
    await stores.webhooks.enqueue([a_delivery(1), a_delivery(2)])

    gone = replace(a_delivery(1), attempts=1, status=410, given_up_at_ms=START_MS + 9)
    await stores.webhooks.settle(gone, gone_url=HOOK.url)

    assert (await stores.webhooks.get(1, "data-team")).gone_at_ms == START_MS + 9
    assert await stores.webhooks.due(START_MS + 99, 9) == []
    assert await stores.webhooks.pending() == 0


async def test_who_moved_is_not_gone_by_what_the_old_url_said(stores: Stores) -> None:
    await stores.webhooks.put(HOOK, ACT)
    await stores.webhooks.enqueue([a_delivery(1), a_delivery(2)])
    moved = await stores.webhooks.put(replace(HOOK, url="https://other.example.com/"), ACT)

    gone = replace(a_delivery(1), attempts=1, status=410, given_up_at_ms=START_MS + 9)
    await stores.webhooks.settle(gone, gone_url=HOOK.url)

    assert await stores.webhooks.due(START_MS + 99, 9) == [(a_delivery(2), moved)]


async def test_what_has_ended_is_not_tried_again_by_an_attempt_under_way(stores: Stores) -> None:
    await stores.webhooks.put(HOOK, ACT)
    await stores.webhooks.enqueue([a_delivery()])
    done = replace(a_delivery(), attempts=1, status=204, delivered_at_ms=START_MS + 9)
    await stores.webhooks.settle(done)

    await stores.webhooks.settle(replace(a_delivery(), attempts=1, status=500))

    assert await stores.webhooks.latest(1, "data-team", 9) == [done]


async def test_tenants_take_turns(stores: Stores) -> None:
    theirs = replace(HOOK, tenant=2)
    await stores.webhooks.put(HOOK, ACT)
    await stores.webhooks.put(theirs, replace(ACT, tenant=2))
    await stores.webhooks.enqueue([a_delivery(number) for number in range(1, 6)])
    await stores.webhooks.enqueue([replace(a_delivery(number), tenant=2) for number in (8, 9)])

    due = await stores.webhooks.due(START_MS + 99, 4)

    assert [(delivery.tenant, delivery.id) for delivery, _ in due] == [
        (1, "msg_1"),
        (2, "msg_8"),
        (1, "msg_2"),
        (2, "msg_9"),
    ]


async def test_who_was_removed_is_told_nothing(stores: Stores) -> None:
    await stores.webhooks.enqueue([a_delivery()])
    await stores.webhooks.put(HOOK, ACT)

    assert await stores.webhooks.pending() == 0


async def test_a_webhook_made_twice_at_once_has_one_secret(stores: Stores) -> None:
    secrets = [bytes([number]) * 32 for number in range(4)]
    hooks = [replace(HOOK, secret=secret) for secret in secrets]

    made = await asyncio.gather(*(stores.webhooks.put(hook, ACT) for hook in hooks))

    assert set(made) == {await stores.webhooks.get(1, "data-team")}


async def test_a_removed_webhook_takes_its_deliveries_along(stores: Stores) -> None:
    await stores.webhooks.put(HOOK, ACT)
    await stores.webhooks.enqueue([a_delivery()])

    await stores.webhooks.remove(1, "data-team", replace(ACT, action="remove webhook"))

    assert await stores.webhooks.of_tenant(1) == []
    assert await stores.webhooks.pending() == 0


async def test_old_deliveries_are_forgotten(stores: Stores) -> None:
    await stores.webhooks.put(HOOK, ACT)
    await stores.webhooks.enqueue([a_delivery(1), a_delivery(2)])

    forgotten = await stores.webhooks.forget(START_MS + 2)

    assert forgotten == 1
    assert await stores.webhooks.latest(1, "data-team", 9) == [a_delivery(2)]
