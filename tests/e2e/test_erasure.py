"""Whoever asks to be forgotten is: at once in exports, within hours in every file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.marketing import Marketing, wait_until
from tests.erasing import erasing_worker, files_telling
from tests.servers import promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
UNIT = "ada@example.com"
OTHER = "grace@example.com"


def choose_and_reward(marketing: Marketing, unit: str) -> None:
    body = {"experiment": "spring", "unit": unit, "occasion": "o", "context": {"mail": unit}}
    decision = marketing.client.post("/choose", json=body).json()
    assert marketing.reward([decision["decision_id"]]) == ["accepted"]


def audit(data: Path) -> int:
    command = [sys.executable, "-m", "service", "audit", "--data-dir", str(data)]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode


def told(marketing: Marketing) -> set[str]:
    return {row["unit"] for row in marketing.exported("spring")}


async def test_an_erased_unit_is_in_no_export_and_in_the_end_in_no_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with promobandit_service(data) as service:
        marketing = Marketing(service.url)
        with marketing.client as client:
            marketing.put("spring")
            choose_and_reward(marketing, UNIT)
            choose_and_reward(marketing, OTHER)
            wait_until(lambda: told(marketing) == {UNIT, OTHER})
            before = marketing.report("spring")

            asked = client.post("/erasures", json={"unit": UNIT})
            wait_until(lambda: told(marketing) == {"", OTHER})

            state = client.get(f"/erasures/{asked.json()['id']}").json()
            export = client.get("/experiments/spring/decisions.csv").text
            after = marketing.report("spring")

    assert asked.status_code == httpx.codes.ACCEPTED
    assert (state["status"], state["rows"]) == ("pending", 1)
    assert UNIT not in export
    assert {v: (row["pulls"], row["rewards"]) for v, row in after.items()} == {
        v: (row["pulls"], row["rewards"]) for v, row in before.items()
    }
    # What the worker does in the next hours, by a clock that does not make us wait for them.
    async with erasing_worker(f"sqlite:///{data}/ledger.db", data / "outbox") as worker:
        done = await worker.until_done(state["id"])
    assert done.done_at_ms is not None
    assert audit(data) == 0
    assert files_telling(tmp_path, OTHER) == ["ledger.db"]
    assert files_telling(tmp_path, UNIT) == []
