"""The import contracts of pyproject.toml hold."""

from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from tests.architecture.sources import ROOT


def test_every_import_obeys_the_contracts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)

    code = lint_imports(
        config_filename="pyproject.toml", cache_dir=str(tmp_path), no_logo=True, verbose=False
    )

    assert code == 0, capsys.readouterr().out
