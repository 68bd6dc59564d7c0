"""Exports over HTTP: every decision once, in order, with its rewards, page after page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from service.domain.decision import Source
from service.domain.reward import RewardStatus
from service.domain.token import TokenCodec
from service.reporting.exports import COLUMNS, PAGE_ROWS
from tests.fakes import House, reward_of
from tests.keys import let_in

BODY = {"variants": [{"id": "a"}, {"id": "b"}]}
FIELDS = (
    *("decision_id", "experiment", "variant", "unit", "occasion", "propensity", "source"),
    *("holdout", "counted", "allocation_version", "decided_at", "context", "rewards"),
)


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a house with one experiment."""
    async with house.client() as client:
        await client.put("/experiments/spring", json=BODY)
        yield client


async def exported(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await client.get("/experiments/spring/decisions.ndjson")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def exported_csv(client: httpx.AsyncClient) -> list[dict[str, str]]:
    answer = await client.get("/experiments/spring/decisions.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_a_row_has_the_fields_of_the_contract_in_order(
    house: House, client: httpx.AsyncClient
) -> None:
    decision = replace(house.decision(1, 1), context=b'{"age":42}')
    await house.ledger.append([decision], [reward_of(decision)])

    (row,) = await exported(client)

    assert tuple(row) == FIELDS == COLUMNS
    assert row == {
        "decision_id": house.codec.encode(decision),
        "experiment": "spring",
        "variant": "b",
        "unit": "unit-1",
        "occasion": "spring",
        "propensity": 0.5,
        "source": "policy",
        "holdout": False,
        "counted": True,
        "allocation_version": 1,
        "decided_at": "2026-11-18T11:06:40.001Z",
        "context": {"age": 42},
        "rewards": [
            {
                "event": "conversion",
                "value": 1.0,
                "occurred_at": "2026-11-18T11:07:40.001Z",
                "received_at": "2026-11-18T11:07:41.001Z",
                "status": "accepted",
            }
        ],
    }


async def test_every_decision_is_exported_once_over_many_pages(
    house: House, client: httpx.AsyncClient
) -> None:
    number = 3 * PAGE_ROWS + 7
    await house.send({0: number}, {0: 5})

    rows = await exported(client)

    assert [row["unit"] for row in rows] == [f"unit-{i}" for i in range(number)]
    assert [len(row["rewards"]) for row in rows] == [1] * 5 + [0] * (number - 5)


async def test_a_full_last_page_is_followed_by_nothing(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.send({0: 2 * PAGE_ROWS}, {})

    assert len(await exported(client)) == 2 * PAGE_ROWS


async def test_what_was_never_counted_is_exported_and_says_so(
    house: House, client: httpx.AsyncClient
) -> None:
    forced = replace(house.decision(1), source=int(Source.forced))
    late = replace(reward_of(house.decision(2)), status=int(RewardStatus.late))
    await house.ledger.append([forced, house.decision(2)], [late])

    rows = await exported(client)

    assert [(row["source"], row["counted"]) for row in rows] == [
        ("forced", False),
        ("policy", True),
    ]
    assert rows[1]["rewards"][0]["status"] == "late"


async def test_a_conflicting_answer_is_kept_beside_the_first(
    house: House, client: httpx.AsyncClient
) -> None:
    first = house.decision(1, 0)
    second = replace(first, variant=1)
    await house.ledger.append([first], [])
    await house.ledger.append([second], [])

    rows = await exported(client)

    assert [(row["variant"], row["counted"]) for row in rows] == [("a", True), ("b", False)]


async def test_the_csv_says_the_same_with_rewards_as_json(
    house: House, client: httpx.AsyncClient
) -> None:
    decision = replace(house.decision(1, 1), context=b'{"age":42}')
    await house.ledger.append([decision, house.decision(2)], [reward_of(decision)])

    rows, lines = await exported(client), await exported_csv(client)

    assert list(lines[0]) == list(COLUMNS)
    assert [json.loads(line["rewards"]) for line in lines] == [row["rewards"] for row in rows]
    assert [line["context"] for line in lines] == ['{"age":42}', ""]
    assert [line["decision_id"] for line in lines] == [row["decision_id"] for row in rows]
    assert [line["counted"] for line in lines] == ["true", "true"]


async def test_a_unit_that_is_a_formula_is_harmless_in_the_csv(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.ledger.append([replace(house.decision(1), unit="=cmd()")], [])

    rows, lines = await exported(client), await exported_csv(client)

    assert (rows[0]["unit"], lines[0]["unit"]) == ("=cmd()", "'=cmd()")


async def test_no_part_of_a_decision_is_a_formula_in_a_table_cut_at_semicolons(
    house: House, client: httpx.AsyncClient
) -> None:
    evil = "a;=cmd|' /C calc'!A0;"
    context = json.dumps({"x": evil}).encode()
    decision = replace(house.decision(1), unit=evil, occasion=evil, context=context)
    await house.ledger.append([decision], [])

    text = (await client.get("/experiments/spring/decisions.csv")).text
    (line,) = await exported_csv(client)

    cells = [cell for row in csv.reader(io.StringIO(text), delimiter=";") for cell in row]
    assert [cell for cell in cells if cell.startswith("=")] == []
    assert json.loads(line["context"]) == {"x": evil}


async def test_an_empty_export_has_a_header_in_csv_only(client: httpx.AsyncClient) -> None:
    ndjson = await client.get("/experiments/spring/decisions.ndjson")
    lines = await client.get("/experiments/spring/decisions.csv")

    assert ndjson.text == ""
    assert lines.text == ",".join(FIELDS) + "\r\n"
    assert lines.headers["content-disposition"] == 'attachment; filename="spring-decisions.csv"'


async def test_a_variant_added_while_streaming_has_its_id(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.send({0: PAGE_ROWS + 1}, {})
    export = await house.services.exports.open(1, "spring")
    await client.put("/experiments/spring", json={"variants": [*BODY["variants"], {"id": "c"}]})
    await house.ledger.append([house.decision(900_000, 2)], [])

    lines = [
        json.loads(x) for page in [p async for p in export.ndjson()] for x in page.splitlines()
    ]

    assert lines[-1]["variant"] == "c"


async def test_a_decision_whose_key_is_gone_has_no_id(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.ledger.append([house.decision(1)], [])
    house.codec = TokenCodec({2: b"n" * 32}, 2)

    assert [row["decision_id"] for row in await exported(client)] == [None]
    assert [line["decision_id"] for line in await exported_csv(client)] == [""]


@pytest.mark.parametrize("suffix", ["ndjson", "csv"])
async def test_an_unknown_experiment_is_told_before_the_answer_begins(
    client: httpx.AsyncClient, suffix: str
) -> None:
    answer = await client.get(f"/experiments/nobody/decisions.{suffix}")

    assert (answer.status_code, answer.json()["status"]) == (404, 404)


async def test_another_tenant_cannot_export_it(house: House, client: httpx.AsyncClient) -> None:
    await house.ledger.append([house.decision(1)], [])
    assert len(await exported(client)) == 1

    async with house.client(let_in(house.keyring, tenant=2)) as stranger:
        answer = await stranger.get("/experiments/spring/decisions.ndjson")

    assert answer.status_code == 404


async def test_sql_lost_at_the_first_page_is_a_503(house: House, client: httpx.AsyncClient) -> None:
    house.ledger.is_down = True

    answer = await client.get("/experiments/spring/decisions.ndjson")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_sql_lost_later_ends_the_answer_short(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.send({0: 3 * PAGE_ROWS}, {})
    house.ledger.pages_left = 2

    # The server cuts the connection: a short answer must not look like a whole one.
    with pytest.raises(RuntimeError, match="already started"):
        await client.get("/experiments/spring/decisions.ndjson")
