"""What is acknowledged is in the ledger exactly once, whoever is killed, however often sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from tests.e2e.marketing import Marketing, children, wait_until
from tests.servers import RunningService, promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
CALLERS = 8
CONNECTIONS = 100  # As many as the client opens at most.


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory: Path = tmp_path_factory.mktemp("once") / "data"
    with promobandit_service(directory, "--workers", "2") as running:
        yield running


@pytest.fixture(scope="module")
def marketing(service: RunningService) -> Iterator[Marketing]:
    marketing = Marketing(service.url)
    with marketing.client:
        yield marketing


async def _post_often(
    url: str, path: str, body: dict[str, Any], times: int
) -> list[httpx.Response]:
    turn = asyncio.Semaphore(CONNECTIONS)  # What waits in the client's pool costs it dearly.
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def post() -> httpx.Response:
            async with turn:
                return await client.post(path, json=body)

        return await asyncio.gather(*(post() for _ in range(times)))


async def test_a_thousand_identical_choices_are_one_decision(marketing: Marketing) -> None:
    marketing.put("same")
    body = {"experiment": "same", "unit": "u", "occasion": "o"}
    answers = [a.json() for a in await _post_often(marketing.url, "/choose", body, 1_000)]

    assert len({answer["decision_id"] for answer in answers}) == 1
    assert Counter(answer["replayed"] for answer in answers) == {False: 1, True: 999}
    wait_until(lambda: marketing.pulls("same") >= 1)
    wait_until(lambda: len(marketing.exported("same")) == 1)
    assert marketing.pulls("same") == 1


async def test_a_thousand_identical_rewards_are_one_reward(marketing: Marketing) -> None:
    marketing.put("paid")
    (decision,) = marketing.send("paid", "o", ["u"])
    body = {"decision_id": decision["decision_id"]}
    answers = [a.json() for a in await _post_often(marketing.url, "/reward", body, 1_000)]

    assert Counter(a["status"] for a in answers) == {"accepted": 1, "duplicate": 999}
    assert sum(row["rewards"] for row in marketing.report("paid").values()) == 1


class Load:
    """Callers that choose and reward until told to stop, noting only what was acknowledged."""

    def __init__(self, url: str, experiment: str) -> None:
        self.url = url
        self.experiment = experiment
        self.decided: dict[str, str] = {}  # decision id -> unit
        self.rewarded: set[str] = set()
        self.failures = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(i,)) for i in range(CALLERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, caller: int) -> None:
        turn = 0
        with httpx.Client(base_url=self.url, timeout=10) as client:
            while not self._stop.is_set():
                turn += 1
                try:
                    self._turn(client, f"{caller}-{turn}", is_rewarded=turn % 3 == 0)
                except httpx.TransportError:  # Killed under us: not acknowledged.
                    self.failures += 1
                    time.sleep(0.05)

    def _turn(self, client: httpx.Client, unit: str, *, is_rewarded: bool) -> None:
        body = {"experiment": self.experiment, "unit": unit, "occasion": "o"}
        answer = client.post("/choose", json=body)
        if answer.status_code != httpx.codes.OK:
            self.failures += 1
            return
        decision_id = answer.json()["decision_id"]
        self.decided[decision_id] = unit
        if is_rewarded:
            reward = client.post("/reward", json={"decision_id": decision_id})
            if reward.status_code in {200, 202}:
                self.rewarded.add(decision_id)


def _check_ledger(marketing: Marketing, load: Load, data_dir: Path) -> None:
    """Compare what was acknowledged with the ledger: nothing lost, nothing twice."""

    def lost() -> int:
        return len(
            load.decided.keys() - {r["decision_id"] for r in marketing.exported(load.experiment)}
        )

    assert len(load.decided) > 200
    wait_until(lambda: lost() == 0)
    rows = marketing.exported(load.experiment)
    counted = [row["unit"] for row in rows if row["counted"]]
    assert max(Counter(counted).values()) == 1
    paid = Counter(
        row["decision_id"] for row in rows for r in row["rewards"] if r["status"] == "accepted"
    )
    assert load.rewarded - paid.keys() == set()
    assert max(paid.values()) == 1
    assert marketing.pulls(load.experiment) == len(counted)
    assert _audit(data_dir).returncode == 0


def _audit(data_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", "audit", "--data-dir", str(data_dir)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("victim", ["api", "worker"])
def test_a_kill_under_load_loses_nothing_and_counts_nothing_twice(
    service: RunningService, marketing: Marketing, victim: str
) -> None:
    marketing.put(f"kill-{victim}")
    with Load(service.url, f"kill-{victim}") as load:
        for _ in range(2):
            time.sleep(2)
            killed = children(service.process.pid, victim)[0]
            killed.kill()
            wait_until(partial(_is_gone, killed.pid), 10)
        time.sleep(3)

    _check_ledger(marketing, load, service.data_dir)
    assert children(service.process.pid, victim)


def _is_gone(process_id: int) -> bool:
    try:
        return str(psutil.Process(process_id).status()) == "zombie"
    except psutil.NoSuchProcess:
        return True


def test_a_flushed_redis_is_restored_without_a_restart(
    service: RunningService, marketing: Marketing
) -> None:
    marketing.put("flush")
    before = marketing.send("flush", "o", [f"u-{i}" for i in range(5_000)])
    wait_until(lambda: marketing.pulls("flush") == 5_000)
    server = redis.Redis(unix_socket_path=str(next(service.data_dir.glob("*.sock"))))
    with Load(service.url, "flush") as load:
        time.sleep(1)
        server.flushall()
        flushed_at = time.perf_counter()
        wait_until(lambda: server.dbsize() > 5_000 * 0.2, 60)
        wait_until(lambda: _restored(server), 60)
        seconds = time.perf_counter() - flushed_at
        time.sleep(1)

    server.close()
    again = marketing.send("flush", "o", [f"u-{i}" for i in range(5_000)])
    assert load.failures == 0
    assert seconds < 60
    assert [d["decision_id"] for d in again] == [d["decision_id"] for d in before]
    assert all(d["replayed"] for d in again)
    _check_ledger(marketing, load, service.data_dir)


def _restored(server: redis.Redis) -> bool:
    epoch = server.get("pb:{changes}:epoch")
    # A restoration begins with a mark that starts so.
    return epoch is not None and not epoch.startswith(b"~")  # type: ignore[arg-type]
