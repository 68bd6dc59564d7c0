"""REDIS_URL names a server, Sentinels or a cluster; what is wrong with it is said without it."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from service.domain.redis_address import ClusterAddress, SentinelAddress, redis_address
from service.settings import Settings


@pytest.mark.parametrize(
    "url", ["redis://localhost:6379/0", "rediss://:secret@cache:6380", "unix:///run/redis.sock"]
)
def test_the_address_of_a_server_names_neither_sentinels_nor_nodes(url: str) -> None:
    assert redis_address(url) is None


def test_a_sentinel_address_says_whom_to_ask_and_how_to_enter() -> None:
    found = redis_address("redis+sentinel://app:p%40ss@a:1,[::1]:2,c/main/3?sentinel_password=x")

    assert found == SentinelAddress(
        sentinels=(("a", 1), ("::1", 2), ("c", 26_379)),
        service="main",
        db=3,
        username="app",
        password="p@ss",  # noqa: S106
        sentinel_password="x",  # noqa: S106
    )


def test_a_sentinel_address_needs_no_password_and_may_ask_for_tls() -> None:
    assert redis_address("rediss+sentinel://a:1/main") == SentinelAddress(
        sentinels=(("a", 1),), service="main", is_tls=True
    )


@pytest.mark.parametrize("path", ["", "/", "/0"])
def test_the_address_of_a_cluster_names_some_of_its_nodes(path: str) -> None:
    found = redis_address(f"rediss+cluster://app:p%40ss@a:1,[::1],c:3{path}")

    assert found == ClusterAddress(
        nodes=(("a", 1), ("::1", 6_379), ("c", 3)),
        is_tls=True,
        username="app",
        password="p@ss",  # noqa: S106
    )


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "http://hunter2@a:1/main",
        "redis+sentinel://u:hunter2@a:1",
        "redis+sentinel://u:hunter2@/main",
        "redis+sentinel://u:hunter2@a:port/main",
        "redis+sentinel://u:hunter2@a:1,,b:2/main",
        "redis+sentinel://u:hunter2@a:1/main/zero",
        "redis+sentinel://a:1/main?sentinel_secret=hunter2",
        "redis+sentinel://u:hunter2@[a:1/main",
    ],
)
def test_a_wrong_address_is_refused_without_a_word_of_it(url: str) -> None:
    with pytest.raises(ValueError, match="REDIS_URL") as refused:
        Settings(redis_url=SecretStr(url))

    assert "hunter2" not in str(refused.value)
    assert "redis+sentinel://" in str(refused.value)


@pytest.mark.parametrize("rest", ["a:1/1", "a:1?x=hunter2", "a:1,,b:2", "u:hunter2@/", "a:port"])
def test_a_cluster_has_one_database_and_no_options(rest: str) -> None:
    with pytest.raises(ValueError, match="REDIS_URL") as refused:
        Settings(redis_url=SecretStr(f"redis+cluster://{rest}"))

    assert "hunter2" not in str(refused.value)
    assert "redis+cluster://" in str(refused.value)
