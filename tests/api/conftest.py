"""One application over memory stores, and a client that talks to it in process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fakes import House


@pytest.fixture
def house() -> House:
    """Give an empty house."""
    return House()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the house."""
    async with house.client() as client:
        yield client
