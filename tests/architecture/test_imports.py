"""The import contracts of pyproject.toml hold."""

import subprocess
import sys
from pathlib import Path

from tests.architecture.sources import ROOT


def test_every_import_obeys_the_contracts() -> None:
    # In a process of its own: the linter disables the loggers that other tests listen to.
    linter = Path(sys.executable).with_name("lint-imports")

    told = subprocess.run(
        [linter, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert told.returncode == 0, told.stdout + told.stderr
