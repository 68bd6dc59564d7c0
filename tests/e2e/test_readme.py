"""The README's tour, run as it stands against the real service."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from tests.servers import promobandit_service

README = (ROOT / "README.md").read_text()
# An HTTP error fails the tour, and each answer ends with a line of its own.
STRICT = r"""
set -euo pipefail
curl() { command curl --silent --show-error --fail-with-body --write-out '\n' "$@"; }
"""


@pytest.mark.e2e
@pytest.mark.requires_tool("curl")
def test_the_tour_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

    with promobandit_service(tmp_path / "data") as service:
        script = STRICT + "".join(blocks).replace("http://127.0.0.1:8000", service.url)
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True
        )

    assert done.returncode == 0, done.stdout + done.stderr
    allocation = next(
        json.loads(line) for line in done.stdout.splitlines() if '"effective_pulls"' in line
    )
    shares = {each["variant"]: each["propensity"] for each in allocation["variants"]}
    assert shares["ten-off"] > 0.9
    assert len((tmp_path / "decisions.ndjson").read_text().split()) >= 1_000
