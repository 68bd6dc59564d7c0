"""More than a million inputs for the decoders, guided by coverage, the same ones every time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 300  # Only a decoder that hangs takes so long.

# The fuzzer has wheels for these alone; there a missing one is a failure.
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info >= (3, 13), reason="atheris is not there"
)


def test_the_targets_take_a_million_inputs_together() -> None:
    assert sum(target.runs for target in TARGETS.values()) >= 1_000_000


@pytest.mark.timeout(SECONDS_MAX + 10)
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_breaks_a_decoder(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", name]

    # libFuzzer leaves the input of a failure in the directory it runs in.
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS_MAX,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    (executed,) = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    assert int(executed) >= TARGETS[name].runs
