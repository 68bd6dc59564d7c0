"""`make load`: the real service under Locust's users and the open-loop sender, and the verdict."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.architecture.sources import ROOT
from tests.servers import RunningService, promobandit_service

pytestmark = pytest.mark.e2e

# Times are shown and not judged in a smoke, so a machine that is busy with other tests may be slow.
COMMAND = (sys.executable, "-m", "loadtests.load", "--shape", "smoke", "--seconds", "3")
BEGIN = "smoke: "


def test_a_sound_service_passes_and_every_promised_route_is_told() -> None:
    done = subprocess.run(
        COMMAND, cwd=ROOT, check=False, capture_output=True, text=True, timeout=110
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\nPASS\n")
    assert "fallback share " in done.stdout
    assert "audit difference 0;" in done.stdout
    for route in ("GET /choose", "POST /choose/batch", "POST /reward", "reports"):
        assert f"\n{route} " in done.stdout


def test_a_service_that_answers_without_redis_fails(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with promobandit_service(tmp_path / "data") as service, told.open("wb") as out:
        load = subprocess.Popen([*COMMAND, "--url", service.url], cwd=ROOT, stdout=out, stderr=out)
        wait_for(BEGIN, told, load)
        redis = redis_of(service)
        redis.send_signal(signal.SIGSTOP)
        try:
            code = load.wait(100)
        finally:
            redis.send_signal(signal.SIGCONT)

    assert code == 1, told.read_text()
    assert "of the choices were answered without Redis" in told.read_text()


def redis_of(service: RunningService) -> psutil.Process:
    """Find the private Redis of a service."""
    children = psutil.Process(service.process.pid).children()
    return next(child for child in children if "redis-server" in " ".join(child.cmdline()))


def wait_for(text: str, printed: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.perf_counter() + 60
    while text not in printed.read_text():
        if process.poll() is not None or time.perf_counter() > deadline:
            pytest.fail(printed.read_text())
        time.sleep(0.1)
