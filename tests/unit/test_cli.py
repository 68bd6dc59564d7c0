"""The command line says what is wrong in one line, without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.cli import main


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])

    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("0.")


@pytest.mark.usefixtures("no_redis")
@pytest.mark.parametrize("command", ["api", "worker"])
def test_a_part_alone_needs_a_redis(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = ["--port", "0"] if command == "api" else []

    assert main([command, "--data-dir", str(tmp_path), *port]) == 1
    assert f"promobandit {command}: REDIS_URL is not set" in capsys.readouterr().err


@pytest.mark.usefixtures("no_redis")
def test_a_fresh_ledger_is_migrated_and_audited(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", "--data-dir", str(tmp_path)]) == 0
    assert main(["audit", "--data-dir", str(tmp_path)]) == 0

    assert capsys.readouterr().out.startswith("0 differences")


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serve", "--port", port])

    assert end.value.code == 2
    assert "argument --port" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["hush", "mysql://ada:hush@db/ledger", "postgresql+psycopg2://db", "sqlite://x:hush/"]
)
def test_a_database_that_is_not_served_is_refused_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    assert main(["migrate"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("promobandit migrate: DATABASE_URL must be sqlite:///path or postgresql")
    assert "hush" not in told
