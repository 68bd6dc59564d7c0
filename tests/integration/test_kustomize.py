"""The real kustomize makes of our overlays what the tests' own renderer makes of them."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.deploy.kustomize import identity
from tests.deploy.overlays import MANIFESTS, OVERLAYS, rendered

pytestmark = [pytest.mark.integration, pytest.mark.requires_tool("kubectl")]
KUSTOMIZE_MIN = 5  # What our files are written for; Debian 12's kubectl brings version 2.


def kubectl(*arguments: str) -> str:
    return subprocess.run(
        ["kubectl", *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout


@pytest.fixture(scope="module", autouse=True)
def _new_enough() -> None:
    told = re.search(r"Kustomize Version: v(\d+)", kubectl("version", "--client"))
    if told is None or int(told[1]) < KUSTOMIZE_MIN:
        pytest.skip(f"this kubectl brings a kustomize older than {KUSTOMIZE_MIN}")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_renders_an_overlay_as_the_tests_do(overlay: str) -> None:
    text = kubectl("kustomize", str(MANIFESTS / "overlays" / overlay))

    made = {identity(each): each for each in yaml.load_all(text, Loader=yaml.CSafeLoader)}
    assert made == {identity(each): each for each in rendered(overlay)}
