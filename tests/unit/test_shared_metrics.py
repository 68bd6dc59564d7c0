"""Processes that end leave what they counted, no gauge, and no file for each of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from service.metrics.merging import Merger
from service.metrics.shared import render_shared, sweep

# A process of its own each: from then on all metrics of a process are shared.
COUNT = """
import sys
import time
from pathlib import Path
from service.metrics import Metrics, shared
from service.metrics.page import Family, Page
joined = shared.join(Path(sys.argv[1]), "api")
metrics = Metrics()
metrics.decided("spring", "policy", 2)
metrics.requested("/choose", 200, 0.003)
metrics.circuits.watch("redis-replays")(True)
metrics.tables_polled(int(time.time() * 1_000))
metrics.outbox_backlog(7, 0.5)
metrics.overload.in_flight("choose", 1, 2)
metrics.flush()
page = Page()
page.put(Family("of_a_page", "A figure", "gauge", ("experiment",)), ("spring",), 1)
joined.page.write(page.text())
print(joined.identity, flush=True)
sys.stdin.read()
"""
DECIDED = 'promobandit_decisions_total{experiment="spring",source="policy"}'
OPEN = 'promobandit_circuit_open{circuit="redis-replays"} 1.0'
PAGE = 'promobandit_of_a_page{experiment="spring"} 1.0'


@contextmanager
def counting_in(directory: Path) -> Iterator[str]:
    """Run a process that has counted, and kill it."""
    with subprocess.Popen(
        [sys.executable, "-c", COUNT, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def read(text: str) -> dict[tuple[str, str], list[tuple[str, tuple[tuple[str, str], ...], float]]]:
    """Return what Prometheus reads in a text, without the families that have no series."""
    return {
        (family.name, family.type): sorted(
            (sample.name, tuple(sorted(sample.labels.items())), sample.value)
            for sample in family.samples
        )
        for family in text_string_to_metric_families(text)
        if family.samples
    }


def test_what_ended_processes_counted_is_kept_in_as_many_files_as_ever(tmp_path: Path) -> None:
    with counting_in(tmp_path) as survivor:
        for _ in range(2):
            with counting_in(tmp_path):
                registry = CollectorRegistry()
                MultiProcessCollector(registry, str(tmp_path))  # type: ignore[no-untyped-call]
                summed = read(generate_latest(registry).decode())
                assert read(Merger().text(tmp_path).decode()) == summed
                assert render_shared(tmp_path).decode().count(PAGE) == 1
        text = render_shared(tmp_path).decode()
        names = {each.name for each in tmp_path.iterdir()}

    assert f"{DECIDED} 6.0" in text
    assert 'promobandit_request_seconds_count{route="/choose"} 3.0' in text
    assert 'promobandit_circuit_openings_total{circuit="redis-replays"} 3.0' in text
    assert {name for name in names if survivor not in name} == {
        "counter_ended.db",
        "histogram_ended.db",
        "lock",
    }


def test_gauges_end_with_their_process_and_counters_with_the_last_one(tmp_path: Path) -> None:
    with counting_in(tmp_path):
        assert OPEN in render_shared(tmp_path).decode()
    sweep(tmp_path)
    text = render_shared(tmp_path).decode()

    assert f"{DECIDED} 2.0" in text
    assert "promobandit_circuit_open{" not in text
    assert PAGE not in text
    with counting_in(tmp_path):
        assert f"{DECIDED} 2.0" in render_shared(tmp_path).decode()


def test_a_directory_that_cannot_be_written_keeps_nobody_from_counting(tmp_path: Path) -> None:
    (tmp_path / "metrics").touch()
    count = "import sys; from pathlib import Path; from service.metrics import shared"
    code = f"{count}; assert shared.join(Path(sys.argv[1]), 'api') is None"

    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "metrics")], check=False, capture_output=True
    )

    assert ran.returncode == 0, ran.stderr
