"""`make demo` as a newcomer meets it: the real service, real waves, and a clean end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.architecture.sources import ROOT
from tests.servers import free_port

pytestmark = pytest.mark.e2e

COMMAND = (sys.executable, "-m", "loadtests.demo", "--no-live")
LAST_LINE = "Ctrl-C stops it."


def test_the_demo_gains_visits_and_the_report_counts_every_send_once() -> None:
    command = [*COMMAND, "--seconds", "8", "--exit", "--port", str(free_port())]

    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=100
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "The report counts 64,000 sends" in done.stdout
    even = next(line for line in done.stdout.splitlines() if "an even split" in line)
    against_this_run = int(even.split()[-2].replace(",", ""))
    assert against_this_run < 0, done.stdout


def test_ctrl_c_takes_the_service_along(tmp_path: Path) -> None:
    port, printed = free_port(), tmp_path / "printed"
    command = [*COMMAND, "--seconds", "4", "--port", str(port)]
    report = f"http://127.0.0.1:{port}/experiments/hillstrom/report"

    with printed.open("wb") as out:
        demo = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    try:
        wait_for(LAST_LINE, printed, demo)
        pulls = httpx.get(report, timeout=10).json()["totals"]["pulls"]
        family = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(signal.SIGINT)
        code = demo.wait(30)
    finally:
        demo.terminate()
        demo.wait(30)
    _, alive = psutil.wait_procs(family, timeout=5)

    assert (pulls, code, alive) == (64_000, 0, [])


def wait_for(text: str, printed: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.perf_counter() + 90
    while text not in printed.read_text():
        if process.poll() is not None or time.perf_counter() > deadline:
            pytest.fail(printed.read_text())
        time.sleep(0.1)
