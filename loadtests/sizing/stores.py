"""Bytes that decisions and rewards take in Redis, in SQL and in the outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from loadtests.sizing.costs import Load
from loadtests.sizing.site import Measured

TABLES = ("decisions", "rewards")
WHOLE = "the whole file"


@dataclass(frozen=True, slots=True)
class Growth:
    """What a number of decisions or rewards added to a store."""

    what: str
    store: str
    part: str
    count: int
    size: int

    @property
    def megabytes_per_million(self) -> float:
        """Megabytes of 10^6 bytes for a million of them; the figure is bytes for each, too."""
        return self.size / self.count


def growths(service: Measured, load: Load, calls: int) -> Iterator[Growth]:
    """Measure what decisions add, and then what rewards of them add."""
    sql = "PostgreSQL" if service.database_url else "SQLite"
    for what, act in (("decisions", load.sends), ("rewards", load.rewards)):
        before = {**_sql(service), "Redis": _redis(service)}
        count = act(calls)
        after = {**_sql(service), "Redis": _redis(service)}
        for part, size in before.items():
            if part in ("Redis", WHOLE) or what in part:  # Else room made for others.
                store = "Redis" if part == "Redis" else sql
                yield Growth(what, store, part, count, after[part] - size)


def outbox_growth(data_dir: Path, decisions: int) -> Growth:
    """Measure the files that an ended service leaves: they are cut to what was written."""
    size = sum(path.stat().st_size for path in (data_dir / "outbox").glob("*.seg*"))
    return Growth("decisions", "outbox", "outbox", decisions, size)


def _redis(service: Measured) -> int:
    with redis.Redis(unix_socket_path=str(service.redis_socket)) as server:
        return int(server.info("memory")["used_memory"])


def _sql(service: Measured) -> dict[str, int]:
    return _postgres(service.database_url) if service.database_url else _sqlite(service.data_dir)


def _postgres(url: str) -> dict[str, int]:
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as line:
        found = line.execute(
            "SELECT relname, pg_relation_size(oid) FROM pg_class"
            " WHERE relkind IN ('r', 'i') AND (relname = ANY(%s) OR oid IN (SELECT indexrelid"
            " FROM pg_index WHERE indrelid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[])"
            " AS name)))",
            [list(TABLES), list(TABLES)],
        ).fetchall()
        return {str(name): int(size) for name, size in found}


def _sqlite(data_dir: Path) -> dict[str, int]:
    """Return the bytes of the file, with what is still in the log beside it."""
    with closing(sqlite3.connect(f"file:{data_dir / 'ledger.db'}?mode=ro", uri=True)) as line:
        (pages,) = line.execute("PRAGMA page_count").fetchone()
        (size,) = line.execute("PRAGMA page_size").fetchone()
        return {WHOLE: pages * size}
