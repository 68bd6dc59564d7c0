"""Keys over HTTP: how they are shown, what they open, and what the refusals say."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import httpx
import pytest

from service.domain.access import Scope
from tests.fakes import House
from tests.hot_rig import NOW_MS as RIG_NOW_MS
from tests.hot_rig import HotRig
from tests.keys import an_open_keyring, let_in

CHOICE = {"experiment": "autumn", "unit": "u"}
AB = {"variants": [{"id": "a"}, {"id": "b"}]}


@pytest.fixture
def rig() -> HotRig:
    rig = HotRig()
    rig.experiment()
    return rig


async def asked(
    rig: HotRig,
    headers: dict[str, str],
    url: str = "/choose",
    json: Any = CHOICE,  # noqa: ANN401  Any body.
) -> httpx.Response:
    async with rig.client() as client:
        return await client.post(url, json=json, headers=headers)


async def by_url(rig: HotRig, key: str) -> httpx.Response:
    async with rig.client() as client:
        return await client.get(f"/choose?experiment=autumn&unit=u&format=text&key={key}")


def basic(user: str, password: str, scheme: str = "Basic") -> dict[str, str]:
    text = b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"{scheme} {text}"}


async def test_without_any_key_everybody_is_let_in(rig: HotRig) -> None:
    assert (await asked(rig, {})).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"])
async def test_an_open_service_answers_to_names_of_its_machine(rig: HotRig, host: str) -> None:
    assert (await asked(rig, {"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example"]
)
async def test_an_open_service_is_not_for_pages_of_elsewhere(rig: HotRig, host: str) -> None:
    assert (await asked(rig, {"Host": host})).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "10.0.0.1"},
        {"Forwarded": "for=10.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
    ids=str,
)
async def test_an_open_service_answers_neither_pages_nor_proxies(
    rig: HotRig, headers: dict[str, str]
) -> None:
    assert (await asked(rig, headers)).status_code in {401, 403}


async def test_a_page_of_this_machine_may_ask_an_open_service(rig: HotRig) -> None:
    headers = {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}

    assert (await asked(rig, headers)).status_code == 200


async def test_a_page_of_elsewhere_cannot_use_a_key_that_the_browser_remembers() -> None:
    house = House()
    key = let_in(house.keyring)

    async with house.client(key) as client:
        await client.put("/experiments/spring", json=AB)
        headers = {"Sec-Fetch-Site": "cross-site"}
        answer = await client.post("/experiments/spring/stop", headers=headers)

    assert answer.status_code == 403


@pytest.mark.parametrize("actor", ["key:abc", "cli:root"])
async def test_nobody_can_act_in_the_name_of_the_service(actor: str) -> None:
    async with House().client() as client:
        answer = await client.put("/experiments/spring", json=AB, headers={"X-Actor": actor})

    assert answer.status_code == 422


async def test_a_body_that_is_refused_is_charged_all_the_same(rig: HotRig) -> None:
    key = {"Authorization": f"Bearer {let_in(rig.keyring, rate_max=1)}"}

    statuses = [(await asked(rig, key, json=[])).status_code for _ in range(2)]

    assert statuses == [422, 429]


async def test_once_there_is_a_key_nobody_is_let_in_without_one(rig: HotRig) -> None:
    let_in(rig.keyring)

    answer = await asked(rig, {})

    assert answer.status_code == 401
    assert answer.json()["type"] == "/problems/unauthenticated"
    assert answer.headers["www-authenticate"].startswith('Bearer realm="promobandit"')


async def test_an_exposed_process_is_never_open() -> None:
    house = House()
    house.keyring = an_open_keyring(house.clock, is_exposed=True)
    house.services = house._services()

    async with house.client() as client:
        assert (await client.get("/experiments")).status_code == 401
        assert (await client.get("/livez")).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_bearer_key_lets_in(rig: HotRig, scheme: str) -> None:
    key = let_in(rig.keyring)

    answer = await asked(rig, {"Authorization": f"{scheme} {key}"})

    assert answer.status_code == 200


@pytest.mark.parametrize("scheme", ["Basic", "basic"])
async def test_basic_takes_a_key_as_password_or_its_two_halves(rig: HotRig, scheme: str) -> None:
    key = let_in(rig.keyring)
    _, key_id, secret = key.split("_", 2)

    whole = await asked(rig, basic("anybody", key, scheme))
    halves = await asked(rig, basic(key_id, secret, scheme))

    assert (whole.status_code, halves.status_code) == (200, 200)


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer pb_x_y",
        "Bearer pb_aaaaaaaaaaaa_" + "A" * 43,
        "Basic",
        "Basic !!!",
        "Basic " + b64encode(b"\xff\xfe").decode(),
        "Digest username=x",
        "Bearer \u00fc",
    ],
)
async def test_what_is_no_key_of_ours_is_a_401_that_repeats_nothing(
    rig: HotRig, shown: str
) -> None:
    let_in(rig.keyring)

    answer = await asked(rig, {"Authorization": shown.encode("latin-1")})  # type: ignore[dict-item]

    assert answer.status_code == 401
    assert answer.json()["detail"] == "show a valid API key"


async def test_a_wrong_secret_of_a_known_key_is_a_401(rig: HotRig) -> None:
    key = let_in(rig.keyring)

    answer = await asked(rig, {"Authorization": f"Bearer {key[:-1]}9"})

    assert answer.status_code == 401


@pytest.mark.parametrize("field", ["expires_at_ms", "revoked_at_ms"])
async def test_an_expired_or_revoked_key_lets_nobody_in(rig: HotRig, field: str) -> None:
    key = let_in(rig.keyring, **{field: RIG_NOW_MS})  # type: ignore[arg-type]

    answer = await asked(rig, {"Authorization": f"Bearer {key}"})

    assert answer.status_code == 401


async def test_a_key_without_the_scope_is_a_403_that_names_it(rig: HotRig) -> None:
    key = let_in(rig.keyring, scopes=[Scope.REWARD, Scope.REPORT])

    answer = await asked(rig, {"Authorization": f"Bearer {key}"})

    assert (answer.status_code, answer.json()["detail"]) == (403, "the key lacks the scope choose")


async def test_a_choose_only_key_may_stand_in_the_url(rig: HotRig) -> None:
    key = let_in(rig.keyring, scopes=[Scope.CHOOSE])

    answer = await by_url(rig, key)

    assert answer.status_code == 200
    assert answer.text in {"a", "b", "c"}


async def test_a_key_that_can_do_more_is_refused_in_the_url(rig: HotRig) -> None:
    key = let_in(rig.keyring, scopes=[Scope.CHOOSE, Scope.REWARD])

    answer = await by_url(rig, key)

    assert answer.status_code == 403


async def test_a_key_in_the_url_of_a_post_opens_nothing(rig: HotRig) -> None:
    key = let_in(rig.keyring, scopes=[Scope.CHOOSE])

    answer = await asked(rig, {}, url=f"/choose?key={key}")

    assert answer.status_code == 401


async def test_the_rate_of_a_key_counts_units_and_says_when_to_come_back(rig: HotRig) -> None:
    key = {"Authorization": f"Bearer {let_in(rig.keyring, rate_max=10)}"}
    send = {"experiment": "autumn", "occasion": "o", "units": [f"u{i}" for i in range(35)]}

    first = await asked(rig, key, url="/choose/batch", json=send)
    second = await asked(rig, key)
    rig.clock.at_ms += 3_000
    third = await asked(rig, key)

    assert (first.status_code, second.status_code, third.status_code) == (200, 429, 200)
    assert second.json()["type"] == "/problems/rate-limited"
    assert second.headers["retry-after"] == "3"


async def test_one_keys_rate_leaves_the_others_alone(rig: HotRig) -> None:
    slow, quick = let_in(rig.keyring, rate_max=1), let_in(rig.keyring)

    statuses = [
        (await asked(rig, {"Authorization": f"Bearer {key}"})).status_code
        for key in (slow, slow, quick, quick)
    ]

    assert statuses == [200, 429, 200, 200]


async def test_the_trail_names_the_key_that_acted() -> None:
    house = House()
    key = let_in(house.keyring)

    async with house.client(key) as client:
        await client.put("/experiments/spring", json=AB, headers={"X-Actor": "ada@example.com"})
        await client.post("/experiments/spring/pause")
        trail = (await client.get("/experiments/spring/trail")).json()["entries"]

    key_id = key.split("_")[1]
    assert [act["actor"] for act in trail] == [f"ada@example.com by key:{key_id}", f"key:{key_id}"]
