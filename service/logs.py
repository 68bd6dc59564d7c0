"""Log lines: JSON for machines, colours on a terminal; never units, payloads or secrets."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor, WrappedLogger

from service.errors import ServiceError

# Libraries that say on INFO what our own lines say better.
_QUIET = ("alembic", "uvicorn.error", "uvicorn.access", "asyncio", "sqlalchemy")

# Errors whose words are ours or the system's. The words of all others may quote what a caller
# sent: a key, a row, a whole body.
_HARMLESS_WORDS = (ServiceError, OSError)


def traceback_of(exc_info: ExcInfo) -> str:
    """Return a traceback with the words of harmless errors only."""
    return "\n".join(_told(exc_info[1]))


def _told(error: BaseException) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _told(before)
        yield "from which came"
    yield from "".join(traceback.format_tb(error.__traceback__)).splitlines()
    words = f": {error}" if isinstance(error, _HARMLESS_WORDS) else ""
    yield f"{type(error).__module__}.{type(error).__qualname__}{words}"
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield "in which there is"
            yield from _told(each)


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    out.write("\n" + traceback_of(exc_info))


def _first_line_of_asyncio(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop what asyncio adds to its first line: the repr of a task, with the words of its error."""
    if event.get("logger") == "asyncio":
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(process: str, *, pretty: bool | None = None, level: str = "INFO") -> None:
    """Send our lines and those of libraries to stderr; `process` stands in each of them."""
    is_pretty = sys.stderr.isatty() if pretty is None else pretty
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler()
    handler.setFormatter(_formatter(is_pretty=is_pretty))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module."""
    bound: FilteringBoundLogger = structlog.get_logger(name)
    return bound


def _formatter(*, is_pretty: bool) -> logging.Formatter:
    # Tracebacks without local variables, too: those hold units, payloads and passwords.
    last: list[Any] = [
        structlog.processors.ExceptionRenderer(traceback_of),
        structlog.processors.JSONRenderer(),
    ]
    if is_pretty:
        last = [structlog.dev.ConsoleRenderer(exception_formatter=_write_traceback)]
    return structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _first_line_of_asyncio,
            *last,
        ],
        foreign_pre_chain=_SHARED,
    )
