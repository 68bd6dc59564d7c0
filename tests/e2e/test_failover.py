"""A failover to a replica that had fallen behind: choices go on, and no answer of ours is lost."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.e2e.marketing import Marketing, wait_until
from tests.sentinels import watched_servers
from tests.servers import promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

UNITS = [f"u{i}" for i in range(300)]
LOST = [f"lost-{i}" for i in range(300)]


@contextmanager
def choosing(url: str) -> Iterator[list[tuple[int, str]]]:
    """Choose all the while; note the status and the source of each answer."""
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def run() -> None:
        with httpx.Client(base_url=url, timeout=10) as client:
            for serial in itertools.count():
                body = {"experiment": "over", "unit": f"all-the-while-{serial}", "occasion": "o"}
                answer = client.post("/choose", json=body)
                answers.append((answer.status_code, answer.json().get("source", "")))
                if stop.wait(0.02):
                    return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def sample(url: str, name: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def ids(decisions: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    return [(decision["decision_id"], decision["replayed"]) for decision in decisions]


def tells_again(marketing: Marketing, units: list[str], firsts: list[dict[str, Any]]) -> bool:
    """Whether a send is told its first answers; a Redis that is late is answered for meanwhile."""
    return ids(marketing.send("over", "o", units)) == [(d["decision_id"], True) for d in firsts]


def test_choices_go_on_through_a_failover_and_the_ledger_gives_back_what_it_lost(
    tmp_path: Path, server_directory: Path
) -> None:
    with (
        watched_servers(server_directory / "failover") as watched,
        promobandit_service(tmp_path / "data", env={"REDIS_URL": watched.url}) as service,
    ):
        marketing = Marketing(service.url)
        marketing.put("over")
        kept = marketing.send("over", "o", UNITS)
        wait_until(lambda: marketing.pulls("over") == len(UNITS))
        restored = sample(service.url, "promobandit_restore_runs_total")
        with redis.Redis(port=watched.ports[1]) as replica:
            replica.replicaof("127.0.0.1", "1")  # From now on it learns nothing.
        lost = marketing.send("over", "o", LOST)
        marketing.put("over", exploration_floor=0.02)  # A version that it never heard of.
        with choosing(service.url) as answers:
            old, _ = watched.signal_primary(signal.SIGKILL)
            watched.wait_for_another_than(old)
            wait_until(lambda: "policy" in [source for _, source in answers[-3:]], 10)
            wait_until(lambda: sample(service.url, "promobandit_restore_runs_total") > restored, 30)
        version = marketing.allocation("over")["version"]
        with redis.Redis(port=watched.primary()) as server:
            published = server.hget("pb:a:{1}", "version")

        assert {status for status, _ in answers} == {200}
        assert {source for _, source in answers} == {"policy", "fallback"}
        wait_until(lambda: tells_again(marketing, UNITS, kept), 10)
        wait_until(lambda: tells_again(marketing, LOST, lost), 10)
        assert {each["source"] for each in kept + lost} == {"policy"}
        assert int(published or 0) >= version
        wait_until(lambda: sample(service.url, "promobandit_circuit_open{") == 0, 5)
        assert sample(service.url, "promobandit_circuit_openings_total{") >= 1
        marketing.client.close()
