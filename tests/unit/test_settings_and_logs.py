"""Settings come from the environment, and neither they nor the log tell a secret."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import structlog

from service import logs
from service.settings import Settings


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("REDIS_URL", "DATABASE_URL", "PROMOBANDIT_DATA_DIR", "PROMETHEUS_MULTIPROC_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_without_addresses_the_ledger_is_a_file_and_redis_must_be_started(
    no_environment: pytest.MonkeyPatch,
) -> None:
    no_environment.delenv("PROMOBANDIT_OUTBOX_DIR", raising=False)
    settings = Settings(data_dir=Path("somewhere"))

    assert settings.database.startswith("sqlite:////")
    assert settings.database.endswith("/somewhere/ledger.db")
    assert settings.outbox == Path("somewhere/outbox")
    with pytest.raises(LookupError, match="REDIS_URL"):
        _ = settings.redis


def test_addresses_come_from_the_variables_that_everybody_uses(
    no_environment: pytest.MonkeyPatch,
) -> None:
    no_environment.setenv("REDIS_URL", "redis://:hush@cache:6379/0")
    no_environment.setenv("DATABASE_URL", "postgresql://ada:hush@db/ledger")
    settings = Settings()

    assert settings.redis == "redis://:hush@cache:6379/0"
    assert settings.database == "postgresql://ada:hush@db/ledger"
    assert "hush" not in repr(settings)


def fail_on(word: str) -> None:
    raise ValueError(f"no word of {len(word)} letters")


def test_a_log_line_is_json_and_its_traceback_shows_no_variables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("test", pretty=False)
    try:
        fail_on("".join(("hu", "sh")))
    except ValueError:
        logs.logger("here").exception("it_failed", count=3)
    logging.getLogger("a.library").warning("from a library")
    logging.getLogger().handlers.clear()
    structlog.reset_defaults()

    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["count"], ours["process"]) == ("it_failed", 3, "test")
    assert "ValueError: no" in ours["exception"]
    assert "hush" not in json.dumps(ours)
    assert (theirs["event"], theirs["level"]) == ("from a library", "warning")
