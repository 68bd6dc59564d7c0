"""Log lines: JSON for machines, colours on a terminal; never units, payloads or secrets."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger, Processor

# Libraries that say on INFO what our own lines say better.
_QUIET = ("alembic", "uvicorn.error", "uvicorn.access", "asyncio", "sqlalchemy")

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
    # Tracebacks without local variables: those hold units, payloads and passwords.
    last: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if is_pretty:
        last = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        foreign_pre_chain=_SHARED,
    )
