"""The Dockerfile is as its linter wants it, and says nothing of health that some command denies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT

DOCKERFILE = ROOT / "Dockerfile"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no hadolint for it in the lock")
def test_hadolint_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")

    found = subprocess.run([linter, DOCKERFILE], capture_output=True, text=True, check=False)

    assert (found.returncode, found.stdout) == (0, "")


def test_health_is_asked_by_whoever_knows_the_command_that_runs() -> None:
    instructions = [line.split(" ")[0] for line in DOCKERFILE.read_text().splitlines()]

    assert "HEALTHCHECK" not in instructions
