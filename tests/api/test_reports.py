"""Reports over HTTP: the ledger's numbers, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest

from service.reporting.report import COLUMNS
from tests.fakes import House, reward_of

BODY: dict[str, Any] = {
    "variants": [{"id": "a"}, {"id": "b"}, {"id": "c"}],
    "holdout": {"share": 0.1, "kind": "control"},
}
FIELDS = {
    *("variant", "state", "is_control", "pulls", "rewards", "value", "rate", "ci_low", "ci_high"),
    *("p_best", "expected_loss", "allocation", "effective_pulls", "effective_rewards", "events"),
}


@pytest.fixture
async def report(house: House, client: httpx.AsyncClient) -> dict[str, Any]:
    """Report on 3 variants with 40, 60 and 0 pulls."""
    await client.put("/experiments/spring", json=BODY)
    await house.send({0: 40, 1: 60}, {0: 4, 1: 12})
    found: dict[str, Any] = (await client.get("/experiments/spring/report")).json()
    return found


async def test_a_report_has_the_fields_of_the_contract(report: dict[str, Any]) -> None:
    assert report.keys() == {
        *("experiment", "generated_at", "state", "policy", "exploration_floor", "holdout"),
        *("allocation_version", "evidence_revision", "variants", "totals", "notes"),
    }
    assert [line.keys() for line in report["variants"]] == [FIELDS] * 3


async def test_the_numbers_are_those_of_the_ledger(report: dict[str, Any]) -> None:
    lines = report["variants"]

    assert [line["pulls"] for line in lines] == [40, 60, 0]
    assert [line["rewards"] for line in lines] == [4, 12, 0]
    assert [line["value"] for line in lines] == [4.0, 12.0, 0.0]
    assert [line["rate"] for line in lines] == [0.1, 0.2, None]
    assert report["totals"] == {"pulls": 100, "rewards": 16, "value": 16.0, "rate": 0.16}
    assert lines[1]["events"] == {"conversion": 12}


async def test_probabilities_and_allocation_sum_to_one(report: dict[str, Any]) -> None:
    assert sum(line["p_best"] for line in report["variants"]) == pytest.approx(1.0, abs=1e-9)
    assert sum(line["allocation"] for line in report["variants"]) == pytest.approx(1.0, abs=1e-9)


async def test_a_report_says_what_it_was_made_under(report: dict[str, Any]) -> None:
    assert report["holdout"] == {"share": 0.1, "kind": "control"}
    assert report["policy"] == {"name": "thompson"}
    assert (report["state"], report["allocation_version"]) == ("running", 1)
    assert report["generated_at"] == "2026-11-18T11:06:40.000Z"
    assert any("biased low" in note for note in report["notes"])


async def test_a_reward_before_its_decision_does_not_break_the_report(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put("/experiments/spring", json=BODY)
    await house.ledger.append([], [reward_of(house.decision(0))])

    answer = await client.get("/experiments/spring/report")

    assert answer.status_code == 200
    assert (answer.json()["variants"][0]["pulls"], answer.json()["variants"][0]["rewards"]) == (
        0,
        1,
    )


async def test_evidence_of_a_variant_we_do_not_know_yet_waits(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put("/experiments/spring", json=BODY)
    await house.send({7: 3}, {})

    answer = await client.get("/experiments/spring/report")

    assert answer.json()["totals"]["pulls"] == 0


async def test_the_csv_has_a_header_and_a_line_per_variant(
    report: dict[str, Any], client: httpx.AsyncClient
) -> None:
    answer = await client.get("/experiments/spring/report.csv")

    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="spring-report.csv"'
    assert list(rows[0]) == list(COLUMNS)
    assert [float(row["p_best"]) for row in rows] == [v["p_best"] for v in report["variants"]]
    assert [row["rate"] for row in rows] == ["0.1", "0.2", ""]
    assert [row["is_control"] for row in rows] == ["true", "false", "false"]
    assert {row["holdout_share"] for row in rows} == {"0.1"}


@pytest.mark.parametrize("path", ["report", "report.csv"])
async def test_a_report_on_nothing_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/experiments/nobody/{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/experiment-not-found"


async def test_a_report_without_sql_says_when_to_ask_again(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put("/experiments/spring", json=BODY)
    house.ledger.is_down = True

    answer = await client.get("/experiments/spring/report")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["type"] == "/problems/ledger-unavailable"
