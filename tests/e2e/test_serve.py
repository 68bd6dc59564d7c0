"""`promobandit serve` is the one command: it starts, learns, survives kills and ends in order."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.marketing import Marketing, children, wait_until
from tests.servers import RunningService, free_port, promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with promobandit_service(tmp_path_factory.mktemp("serve") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def marketing(service: RunningService) -> Iterator[Marketing]:
    with a_marketing_system(service) as marketing:
        yield marketing


@contextmanager
def a_marketing_system(service: RunningService) -> Iterator[Marketing]:
    marketing = Marketing(service.url)
    with marketing.client:
        yield marketing


def log_of(service: RunningService) -> str:
    return service.data_dir.with_suffix(".log").read_text()


def run_command(service: RunningService, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_in(service.data_dir, *arguments)


def run_in(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", *arguments, "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def has_answered(service: RunningService) -> bool:
    try:
        return httpx.get(f"{service.url}/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def sample(service: RunningService, name: str) -> float:
    for line in httpx.get(f"{service.url}/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return 0.0


def test_choices_and_rewards_move_the_allocation(
    service: RunningService, marketing: Marketing
) -> None:
    marketing.put("moves")
    before = marketing.allocation("moves")
    sent = marketing.send("moves", "first", [f"u{i}" for i in range(600)])
    won = [d["decision_id"] for d in sent if d["variant"] == "c"]
    assert set(marketing.reward(won)) == {"accepted"}

    def share_of_c() -> float:
        rows = marketing.allocation("moves")["variants"]
        return next(float(row["propensity"]) for row in rows if row["variant"] == "c")

    wait_until(lambda: share_of_c() > 0.9, seconds=15)
    assert marketing.allocation("moves")["version"] > before["version"]
    wait_until(lambda: marketing.pulls("moves") == 600, seconds=15)
    assert sample(service, "promobandit_allocations_written_total") >= 2


def test_the_scrape_tells_how_old_the_tables_are(service: RunningService) -> None:
    polled = sample(service, "promobandit_tables_polled_timestamp_seconds")

    assert abs(polled - datetime.now(UTC).timestamp()) < 60


def test_the_data_directory_is_private_and_locked(service: RunningService) -> None:
    assert service.data_dir.stat().st_mode & 0o777 == 0o700

    second = run_command(service, "serve", "--port", str(free_port()))

    assert second.returncode == 1
    assert "lock" in second.stderr or "use" in second.stderr


@pytest.mark.parametrize("command", ["api", "worker"])
def test_a_killed_child_is_started_again(
    service: RunningService, marketing: Marketing, command: str
) -> None:
    (victim,) = children(service.process.pid, command)
    victim.kill()

    def is_back() -> bool:
        found = children(service.process.pid, command)
        return bool(found) and found[0].pid != victim.pid and has_answered(service)

    wait_until(is_back, seconds=30)
    name = f"after-{command}"
    marketing.put(name)
    marketing.send(name, "first", [f"u{i}" for i in range(10)])
    wait_until(lambda: marketing.pulls(name) == 10, seconds=30)


def test_a_killed_redis_is_started_again_and_made_whole(
    service: RunningService, marketing: Marketing
) -> None:
    marketing.put("whole")
    first = marketing.send("whole", "first", ["u"])
    wait_until(lambda: marketing.pulls("whole") == 1, seconds=15)
    before = sample(service, "promobandit_restore_runs_total")
    server = next(
        child
        for child in psutil.Process(service.process.pid).children(recursive=True)
        if child.name() in {"redis-server", "valkey-server"}
    )
    server.kill()
    occasions = itertools.count()

    def is_asked_again() -> bool:
        (decision,) = marketing.send("whole", f"later-{next(occasions)}", ["u"])
        assert decision["source"] in {"fallback", "policy"}  # But never an error.
        return bool(decision["source"] == "policy")

    wait_until(lambda: sample(service, "promobandit_restore_runs_total") > before, seconds=30)
    wait_until(is_asked_again, seconds=10)
    again = marketing.send("whole", "first", ["u"])
    assert [(d["decision_id"], d["replayed"]) for d in again] == [(first[0]["decision_id"], True)]


def test_an_audit_of_the_running_service_finds_no_difference(service: RunningService) -> None:
    audit = run_command(service, "audit")

    assert (audit.returncode, audit.stdout.split()[0]) == (0, "0")


def test_a_new_signing_key_is_announced_for_later(service: RunningService) -> None:
    rotation = run_command(service, "rotate-signing-key")

    assert rotation.stdout.startswith("signing key 2 is in use from ")


def test_a_terminated_service_drains_and_leaves_nobody_behind(tmp_path: Path) -> None:
    with promobandit_service(tmp_path / "data") as running:
        assert f"promobandit is ready: {running.url}" in log_of(running)
        with a_marketing_system(running) as marketing:
            marketing.put("ends")
            marketing.send("ends", "first", [f"u{i}" for i in range(2_000)])
        family = psutil.Process(running.process.pid).children(recursive=True)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0

        assert not [child for child in family if child.is_running()]
    with (
        promobandit_service(tmp_path / "data") as running,
        a_marketing_system(running) as marketing,
    ):
        assert marketing.pulls("ends") == 2_000


def test_nobody_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    with promobandit_service(tmp_path / "data") as running:
        family = psutil.Process(running.process.pid).children(recursive=True)
        running.process.kill()
        running.process.wait()
        started = time.perf_counter()
        _, alive = psutil.wait_procs(family, timeout=5)

        assert alive == []
        assert time.perf_counter() - started < 5
    with promobandit_service(tmp_path / "data") as running:  # The lock went with it.
        assert has_answered(running)


def test_without_keys_it_says_that_it_is_open_to_this_machine(service: RunningService) -> None:
    assert "open_to_everyone_on_this_machine" in log_of(service)


def test_other_machines_are_let_in_by_key_only_and_never_without(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    made = run_in(data_dir, "keys", "create", "--scope", "report")
    key = made.stdout.split()[0]
    with promobandit_service(data_dir, "--host", "0.0.0.0") as running:  # noqa: S104
        asked = f"{running.url}/experiments"
        shown = {"Authorization": f"Bearer {key}"}
        with_key = httpx.get(asked, headers=shown).status_code
        without_key = httpx.get(asked).status_code
        assert run_in(data_dir, "keys", "revoke", key.split("_")[1]).returncode == 0
        wait_until(lambda: httpx.get(asked, headers=shown).status_code == 401, seconds=15)

        assert (with_key, without_key) == (200, 401)
        assert httpx.get(asked).status_code == 401
        assert key.split("_", 2)[2] not in log_of(running)


def test_a_used_address_is_refused(service: RunningService, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]

    other = run_in(tmp_path / "other", "serve", "--port", port)

    assert other.returncode == 1
    assert "in use" in other.stderr


def test_with_both_addresses_it_runs_on_postgresql_and_valkey(
    tmp_path: Path, fresh_postgres_url: str, valkey_url: str
) -> None:
    addresses = {"DATABASE_URL": fresh_postgres_url, "REDIS_URL": valkey_url}
    with (
        promobandit_service(tmp_path / "data", env=addresses) as running,
        a_marketing_system(running) as marketing,
    ):
        marketing.put("outside")
        sent = marketing.send("outside", "first", [f"u{i}" for i in range(100)])
        assert set(marketing.reward([each["decision_id"] for each in sent])) == {"accepted"}

        wait_until(lambda: marketing.pulls("outside") == 100, seconds=15)
        assert {each["source"] for each in sent} == {"policy"}
        assert not list((tmp_path / "data").glob("*.sock"))
