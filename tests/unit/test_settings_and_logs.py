"""Settings come from the environment, and neither they nor the log tell a secret."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from pathlib import Path

import pytest
import structlog

from service import logs
from service.errors import OverloadedError
from service.settings import Settings


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("REDIS_URL", "DATABASE_URL", "PROMOBANDIT_DATA_DIR", "PROMOBANDIT_METRICS_DIR"):
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
    assert ours["exception"].endswith("builtins.ValueError")
    assert "hush" not in json.dumps(ours)
    assert (theirs["event"], theirs["level"]) == ("from a library", "warning")


def test_a_traceback_has_the_words_of_harmless_errors_only() -> None:
    try:
        try:
            try:
                raise FileNotFoundError(2, "No such file", "a/b")
            except OSError as error:
                raise KeyError("hush") from error
        except KeyError:
            raise ExceptionGroup("hush", [OverloadedError("come back"), ValueError("hush")])  # noqa: B904
    except ExceptionGroup as group:
        told = logs.traceback_of((type(group), group, group.__traceback__))

    assert [line for line in told.splitlines() if not line.startswith(" ")] == [
        "builtins.FileNotFoundError: [Errno 2] No such file: 'a/b'",
        "from which came",
        "builtins.KeyError",
        "from which came",
        "builtins.ExceptionGroup",
        "in which there is",
        "service.errors.OverloadedError: come back",
        "in which there is",
        "builtins.ValueError",
    ]


def test_what_asyncio_tells_of_a_task_has_no_words_of_its_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def fail() -> None:
        raise KeyError("".join(("hu", "sh")))

    async def forget() -> None:
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    logs.configure("test", pretty=False)
    asyncio.run(forget())
    logging.getLogger().handlers.clear()
    structlog.reset_defaults()

    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert line["event"] == "Task exception was never retrieved"
    assert "hush" not in json.dumps(line)


@pytest.mark.parametrize("pretty", [True, False])
def test_a_failure_is_told_in_both_formats(
    capsys: pytest.CaptureFixture[str], *, pretty: bool
) -> None:
    logs.configure("test", pretty=pretty)
    try:
        raise OverloadedError("come back")  # noqa: TRY301
    except OverloadedError:
        logs.logger("here").exception("it_failed")
    logging.getLogger().handlers.clear()
    structlog.reset_defaults()

    assert "service.errors.OverloadedError: come back" in capsys.readouterr().err
