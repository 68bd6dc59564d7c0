"""Turn what drivers raise into the domain's two errors, without a caller's data in the text."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import exc

from service.errors import LedgerUnavailableError, PoisonRecordError, ServiceError

# What only a value can cause: the same row fails again, its neighbours do not.
_POISON = (
    exc.DataError,
    exc.IntegrityError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    psycopg.DataError,
    psycopg.IntegrityError,
    OverflowError,
    UnicodeError,
)
_UNAVAILABLE = (exc.SQLAlchemyError, sqlite3.Error, psycopg.Error, OSError, TimeoutError)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise `LedgerUnavailableError` or `PoisonRecordError` for whatever a driver raises."""
    try:
        yield
    except ServiceError:
        raise
    except _POISON as error:
        raise PoisonRecordError(f"the ledger cannot take this: {_name(error)}") from error
    except _UNAVAILABLE as error:
        raise LedgerUnavailableError(f"SQL is unavailable: {_name(error)}") from error


def is_disconnect(error: BaseException | None) -> bool:
    """Whether the connection was lost, so that another one may do better at once."""
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def _name(error: BaseException) -> str:
    """Return the kind of an error: drivers quote values in their messages, kinds do not."""
    original = error.orig if isinstance(error, exc.DBAPIError) else error
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    return f"{type(original).__name__} {code}" if code else type(original).__name__
