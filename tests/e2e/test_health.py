"""A burst of duplicates is told in a plain sentence, by the running service, to all who ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.marketing import Marketing, wait_until
from tests.servers import promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
QUICK = {"PROMOBANDIT_QUALITY_SECONDS": "0.3", "PROMOBANDIT_LEARNING_PAGE_SECONDS": "0.3"}


def health(marketing: Marketing, experiment: str) -> dict[str, Any]:
    """Return an experiment's health, its checks by name."""
    answer = marketing.client.get(f"/experiments/{experiment}/health")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return {**body, "checks": {check["check"]: check for check in body["checks"]}}


def test_a_burst_of_duplicates_is_told_in_a_plain_sentence(tmp_path: Path) -> None:
    with promobandit_service(tmp_path / "data", env=QUICK) as service:
        marketing = Marketing(service.url)
        with marketing.client:
            for name in ("sound", "doubled"):
                marketing.put(name)
            sent = {name: marketing.send(name, "first", units()) for name in ("sound", "doubled")}
            ids = {name: [d["decision_id"] for d in sent[name]][:50] for name in sent}
            for name in ("sound", "doubled"):
                assert set(marketing.reward(ids[name])) == {"accepted"}
            wait_until(lambda: health(marketing, "doubled")["checks"]["duplicates"]["figures"])
            before = health(marketing, "doubled")
            for _ in range(4):
                assert set(marketing.reward(ids["doubled"])) == {"duplicate"}
            wait_until(lambda: health(marketing, "doubled")["state"] == "alarm")
            after, sound = health(marketing, "doubled"), health(marketing, "sound")
            line = 'promobandit_quality_state{experiment="doubled",check="duplicates"} 2.0'
            wait_until(lambda: line in marketing.client.get("/metrics").text)

    assert before["state"] == "ok"
    assert after["sentence"] == after["checks"]["duplicates"]["sentence"]
    assert after["sentence"].startswith(
        "200 of the 250 rewards of the last two hours had been reported before (80%)"
    )
    assert after["checks"]["split"]["state"] == sound["state"] == "ok"


def units() -> list[str]:
    """Return a small audience."""
    return [f"r-{i}" for i in range(200)]
