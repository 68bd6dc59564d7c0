"""Every trail of acts gives a tenant its own acts, oldest first, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from service.domain.access import AdminAct
from service.domain.token import SigningKey
from tests.sql_stores import BACKENDS, START_MS, Backend, opened_backend, url_of


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    url = None if request.param == "memory" else url_of(request.param, request, tmp_path)
    async with opened_backend(url) as backend:
        yield backend


def an_act(subject: str, *, tenant: int = 1) -> AdminAct:
    detail = {"name": "Größe", "rows": [1, None]}
    return AdminAct(
        tenant=tenant, at_ms=START_MS, actor="ada", action="erase", subject=subject, detail=detail
    )


async def test_acts_come_page_by_page_to_their_own_tenant(backend: Backend) -> None:
    for number in range(5):
        await backend.stores.acts.record(an_act(f"mine-{number}"))
        await backend.stores.acts.record(an_act(f"theirs-{number}", tenant=2))

    first = await backend.twin.acts.of_tenant(1, 3)
    second = await backend.twin.acts.of_tenant(1, 3, after=first[-1].id)

    assert [act.subject for act in (*first, *second)] == [f"mine-{n}" for n in range(5)]
    assert structs.replace(first[0], id=0) == an_act("mine-0")


async def test_a_signing_key_is_added_together_with_its_act_or_not_at_all(backend: Backend) -> None:
    store = backend.stores.signing_keys
    await store.keys()
    added = await store.add(SigningKey(2, b"\x01" * 32, 5), an_act("2"))
    taken = await store.add(SigningKey(2, b"\x02" * 32, 6), an_act("2 again"))

    assert (added, taken) == (True, False)
    assert [act.subject for act in await backend.twin.acts.of_tenant(1, 10)] == ["2"]
