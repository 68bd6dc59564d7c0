"""What scenarios ask SQL itself, past the service and its proxies."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.faults.disk import Disk
from tests.faults.parts import Sqlite
from tests.faults.stack import Stack

_ORPHANS = (
    "SELECT count(*) FROM rewards AS r WHERE r.experiment = :number"
    " AND NOT EXISTS (SELECT 1 FROM decisions AS d WHERE d.key = r.key)"
)
_ASK = """
import json, sqlite3, sys
path, query, parameters = sys.argv[1:]
rows = sqlite3.connect(path, timeout=20).execute(query, json.loads(parameters)).fetchall()
print(json.dumps(rows))
"""


def head(stack: Stack, experiment: str) -> tuple[int, int]:
    """Return an experiment's number and the version of its newest allocation."""
    query = "SELECT number, head_version FROM experiments WHERE id = :id"
    ((number, version),) = _rows(stack, query, id=experiment)
    return number, version


def allocation(stack: Stack, number: int, version: int) -> str:
    """Return the record of an allocation, as JSON."""
    query = "SELECT record FROM allocations WHERE experiment = :number AND version = :version"
    return str(_rows(stack, query, number=number, version=version)[0][0])


def rewards(stack: Stack, number: int) -> list[tuple[str, str]]:
    """Return the key, as decision ids begin with it, and the event id of each reward."""
    is_file = isinstance(stack.sql, Sqlite)
    key = "hex(key)" if is_file else "encode(key, 'hex')"
    query = f"SELECT {key}, event_id FROM rewards WHERE experiment = :number"  # noqa: S608
    found = _rows(stack, query, number=number)
    return [(urlsafe_b64encode(bytes.fromhex(key)).decode(), event) for key, event in found]


def decisions(stack: Stack, experiment: str) -> int:
    """Count an experiment's decisions that are in the ledger by now."""
    number, _ = head(stack, experiment)
    query = "SELECT count(*) FROM decisions WHERE experiment = :number"
    return int(_rows(stack, query, number=number)[0][0])


def orphans(stack: Stack, experiment: str) -> int:
    """Count an experiment's rewards whose decision is not in the ledger yet."""
    number, _ = head(stack, experiment)
    return int(_rows(stack, _ORPHANS, number=number)[0][0])


def is_hidden(stack: Stack) -> bool:
    """Whether SQL is a file that only processes within a disk's mount namespace can open.

    Its path from outside leads over a link into that namespace, which SQLite resolves by name.
    """
    return isinstance(stack.sql, Sqlite) and stack.sql.path != stack.sql.outside


def expire_leases(stack: Stack) -> None:
    """Let every lease have run out by now, as it would have some seconds later."""
    engine = stack.sql.engine()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM leases"))
    engine.dispose()


def _rows(stack: Stack, query: str, **parameters: str | int) -> list[tuple[Any, ...]]:
    if isinstance(stack.sql, Sqlite) and stack.disk and is_hidden(stack):
        return _rows_within(stack.disk, stack.sql.path, query, parameters)
    engine = stack.sql.engine()
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), parameters)]
    finally:
        engine.dispose()


def _rows_within(
    disk: Disk, path: Path, query: str, parameters: Mapping[str, str | int]
) -> list[tuple[Any, ...]]:
    command = [*disk.within, sys.executable, "-c", _ASK, str(path), query, json.dumps(parameters)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [tuple(row) for row in json.loads(done.stdout)]
