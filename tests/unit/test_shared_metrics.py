"""Processes that end leave what they counted, no gauge, and no file for each of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from service.metrics import forget_process
from service.metrics.shared import render_shared

# A process of its own each: the library asks for the directory when it is imported.
COUNT = """
import os
from pathlib import Path
from service.metrics import Metrics
metrics = Metrics(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
metrics.decided("spring", "policy", 2)
metrics.requested("/choose", 200, 0.003)
metrics.circuits.watch("redis-replays")(True)
metrics.flush()
print(os.getpid())
"""


def count_in(directory: Path) -> int:
    """Run a process that counts; return its id."""
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    ran = subprocess.run(
        [sys.executable, "-c", COUNT], env=environment, check=True, capture_output=True, text=True
    )
    return int(ran.stdout)


def test_what_ended_processes_counted_is_kept_in_as_many_files_as_ever(tmp_path: Path) -> None:
    for _ in range(3):
        living = count_in(tmp_path)
        text = render_shared(tmp_path).decode()
        assert 'promobandit_circuit_open{circuit="redis-replays"} 1.0' in text
        forget_process(tmp_path, living)
    text = render_shared(tmp_path).decode()

    assert 'promobandit_decisions_total{experiment="spring",source="policy"} 6.0' in text
    assert 'promobandit_request_seconds_count{route="/choose"} 3.0' in text
    assert 'promobandit_circuit_openings_total{circuit="redis-replays"} 3.0' in text
    assert "promobandit_circuit_open{" not in text
    assert {each.name for each in tmp_path.iterdir()} == {"counter_0.db", "histogram_0.db", "lock"}


def test_a_process_that_counted_nothing_is_forgotten_too(tmp_path: Path) -> None:
    forget_process(tmp_path, 12_345)

    assert render_shared(tmp_path) == b""
