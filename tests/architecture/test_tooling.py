"""Locks, Makefile and committed files keep what CONTRIBUTING.md promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, committed_files, place
from tests.conftest import PACKAGE_OF_TOOL

TARGETS_MAX = 12
LOCKS = ("base", "serve", "demo", "dev")
# Written so that this file does not match itself.
REGISTRY_HOST = re.compile(r"py[p]i\.(org|python)|python[h]osted\.|registry\.npm[j]s")
MACHINE_PATH = re.compile(r"(?<![\w.~$})/-])/(?:work|root|home|tmp)/\w")
PINNED = re.compile(r"^(?P<name>[a-z0-9.-]+)(\[[a-z,]+\])?==(?P<version>\S+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    return {match["name"]: match["version"] for match in PINNED.finditer(text)}


def places(pattern: re.Pattern[str]) -> list[str]:
    return [
        place(path, number)
        for path in committed_files()
        if path.suffix not in (".png", ".parquet", ".ico")
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("pattern", [REGISTRY_HOST, MACHINE_PATH], ids=["registry", "path"])
def test_no_committed_file_names_a_registry_or_a_machine(pattern: re.Pattern[str]) -> None:
    assert places(pattern) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_of_a_lock_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text)

    assert "://" not in text
    assert "setuptools" in pins(lock)
    assert [entry for entry in entries[1:] if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", LOCKS[:-1])
def test_a_venv_for_the_tests_satisfies_every_smaller_lock(lock: str) -> None:
    assert pins(lock).items() <= pins("dev").items()


def test_the_makefile_has_at_most_12_targets_each_with_a_sentence() -> None:
    makefile = Path(ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    described = set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE))

    assert described == phony
    assert len(described) <= TARGETS_MAX


@pytest.mark.parametrize(("tool", "package"), PACKAGE_OF_TOOL.items())
def test_ci_installs_every_program_that_a_test_may_ask_for(tool: str, package: str) -> None:
    assert f"[{tool}]={package}" in (ROOT / ".ci" / "run").read_text()
