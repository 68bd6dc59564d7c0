"""`make sbom` lists what the service is made of; `make audit` never passes without an answer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from tests.architecture.test_tooling import pins

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a target with the virtual environment as it is."""
    return subprocess.run(
        ["make", "--old-file=.venv/stamps/dev", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_list_of_parts_has_every_pin_with_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "made" / "sbom.json"

    made = make("sbom", f"SBOM={path}")

    assert (made.returncode, made.stderr) == (0, "")
    document = json.loads(path.read_text())
    parts = {part["name"]: part["version"] for part in document["components"]}
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "promobandit"
    assert parts == pins("serve")
    assert all(part["externalReferences"][0]["hashes"] for part in document["components"])


def test_an_audit_that_nobody_answers_fails_and_says_so() -> None:
    nowhere = "http://127.0.0.1:9"

    made = make("audit", f"HTTPS_PROXY={nowhere}", f"HTTP_PROXY={nowhere}")

    assert made.returncode != 0
    assert "could not be asked" in made.stdout
    assert "Traceback" not in made.stdout + made.stderr
