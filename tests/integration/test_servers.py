"""The servers that our fixtures start are what they say they are."""

import psycopg
import pytest
import redis

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("fixture", "field", "version"),
    [("redis_url", "redis_version", "6.2"), ("valkey_url", "valkey_version", "9.")],
)
def test_a_redis_server_runs_the_version_it_is_named_for(
    fixture: str, field: str, version: str, request: pytest.FixtureRequest
) -> None:
    url: str = request.getfixturevalue(fixture)

    with redis.Redis.from_url(url) as client:
        info = client.info("server")

    assert info[field].startswith(version)


@pytest.mark.parametrize("visit", [1, 2])
def test_each_test_gets_an_empty_durable_postgresql(visit: int, fresh_postgres_url: str) -> None:
    with psycopg.connect(fresh_postgres_url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE once (visit int)")
        settings = connection.execute(
            "SELECT current_setting('server_version'), current_setting('fsync')"
        ).fetchone()

    assert visit
    assert settings is not None
    assert settings[0].startswith("18")
    assert settings[1] == "on"
