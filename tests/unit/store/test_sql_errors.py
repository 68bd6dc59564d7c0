"""What a database refuses for now is never taken for a record that it can never take."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from sqlalchemy import exc

from service.errors import LedgerUnavailableError, PoisonRecordError
from service.store.sql_errors import translated_errors

# SQLSTATE and what it means; the names are PostgreSQL's.
FOR_NOW = {
    "53100": "disk_full",
    "53200": "out_of_memory",
    "53300": "too_many_connections",
    "25006": "read_only_sql_transaction",
    "40001": "serialization_failure",
    "40P01": "deadlock_detected",
    "55P03": "lock_not_available",
    "55000": "object_not_in_prerequisite_state",
    "57014": "query_canceled",
    "57P01": "admin_shutdown",
    "57P03": "cannot_connect_now",
    "58030": "io_error",
    "42501": "insufficient_privilege",
    "42P01": "undefined_table",
    "XX001": "data_corrupted",
    "08006": "connection_failure",
}
FOR_EVER = {
    "22003": "numeric_value_out_of_range",
    "22021": "character_not_in_repertoire",
    "23502": "not_null_violation",
    "23514": "check_violation",
}


def from_postgres(code: str) -> psycopg.Error:
    return psycopg.errors.lookup(code)("a message that may quote a value")


def wrapped(error: psycopg.Error) -> exc.DBAPIError:
    """Return the error as SQLAlchemy passes it on."""
    made = exc.DBAPIError.instance("INSERT", {}, error, psycopg.Error)
    assert isinstance(made, exc.DBAPIError)
    return made


@pytest.mark.parametrize("code", FOR_NOW, ids=FOR_NOW.values())
@pytest.mark.parametrize("is_wrapped", [True, False])
def test_what_postgresql_refuses_for_now_is_unavailability(code: str, is_wrapped: bool) -> None:
    error = from_postgres(code)

    with pytest.raises(LedgerUnavailableError, match=code), translated_errors():
        raise wrapped(error) if is_wrapped else error


@pytest.mark.parametrize("code", FOR_EVER, ids=FOR_EVER.values())
def test_what_only_a_value_can_cause_is_poison(code: str) -> None:
    with pytest.raises(PoisonRecordError, match=code), translated_errors():
        raise wrapped(from_postgres(code))


def test_a_full_sqlite_is_unavailability() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (x BLOB)")
    connection.execute("PRAGMA max_page_count = 2")

    with (
        pytest.raises(LedgerUnavailableError, match="SQLITE_FULL"),
        translated_errors(),
    ):
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    connection.close()


def test_a_read_only_sqlite_is_unavailability() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA query_only = 1")

    with (
        pytest.raises(LedgerUnavailableError, match="SQLITE_READONLY"),
        translated_errors(),
    ):
        connection.execute("CREATE TABLE t (x)")
    connection.close()
