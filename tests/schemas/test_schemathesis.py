"""Thousands of requests made from the live OpenAPI document get only documented answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.domain.access import Scope
from tests.architecture.sources import ROOT
from tests.servers import promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CASES_MIN = 5_000
EXAMPLES_PER_OPERATION = 150
# After each of them the ids it made are used by the others: create, choose, reward, stop.
PHASES = ("examples", "coverage", "fuzzing", "stateful")
CONFIGURATION = ROOT / "tests" / "schemas" / "schemathesis.toml"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    directory = tmp_path_factory.mktemp("schemathesis")
    data_dir = directory / "data"
    with promobandit_service(data_dir, "--workers", "1") as service:
        found = run_schemathesis(service.url, key_of_everything(data_dir), directory)
        found["log"] = data_dir.with_suffix(".log").read_text()
        yield found


def key_of_everything(data_dir: Path) -> str:
    scopes = [word for scope in Scope for word in ("--scope", scope.value)]
    command = [sys.executable, "-m", "service", "keys", "create", *scopes]
    command += ["--data-dir", str(data_dir)]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return made.stdout.splitlines()[0]


def run_schemathesis(url: str, key: str, directory: Path) -> dict[str, Any]:
    path = directory / "report.json"
    program = Path(sys.executable).parent / "schemathesis"
    command = [str(program), "--config-file", str(CONFIGURATION), "--no-color", "run"]
    command += [f"{url}/openapi.json", "--checks", "all", "--phases", ",".join(PHASES)]
    command += ["--max-examples", str(EXAMPLES_PER_OPERATION), "--generation-deterministic"]
    command += ["--header", f"Authorization: Bearer {key}", "--no-shrink"]
    command += ["--report", "json", "--report-json-path", str(path)]
    # In a directory of its own, because it keeps what it found where it stands.
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=280, cwd=directory
    )
    assert path.exists(), run.stdout + run.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    return {**found, "output": run.stdout}


def test_every_answer_to_every_operation_is_documented(report: dict[str, Any]) -> None:
    assert (report["failures"], report["errors"]) == ([], []), report["output"]
    assert report["exit_code"] == 0
    assert report["stop_reason"] == "completed"


def test_every_operation_is_asked_in_every_way(report: dict[str, Any]) -> None:
    operations, phases = report["operations"], report["phases"]

    assert operations["tested"] == operations["total"] > 20
    assert {name: phase["status"] for name, phase in phases.items()} == dict.fromkeys(
        PHASES, "success"
    )


def test_at_least_5000_cases_are_tried(report: dict[str, Any]) -> None:
    assert report["test_cases"]["generated"] >= CASES_MIN


def test_no_case_makes_a_line_of_an_error(report: dict[str, Any]) -> None:
    assert [line for line in report["log"].splitlines() if '"level": "error"' in line] == []
