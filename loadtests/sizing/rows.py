"""How SQL bears many rows: `python -m loadtests.sizing.rows --millions 5 --write-docs`.

Rows are made in PostgreSQL itself, in the tables that the service's migration makes: keys are as
random as ours, times go on from row to row. The other layout, hash partitions by key, is the one
that deploy/sql/partition-decisions.sql makes of the first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import psycopg

from loadtests.bench.machine import machine, versions
from loadtests.processes import Cores
from loadtests.servers import Site
from loadtests.sizing.growing import write_docs

SCRIPT = Path(__file__).parents[2] / "deploy" / "sql" / "partition-decisions.sql"
MILLION = 1_000_000
WIPED, AT_ONCE = 100_000, 1_000  # Rows, in the transactions that retention makes.
FILL = """
INSERT INTO decisions (key, tenant, experiment, variant, propensity, source, holdout, counted,
  version, key_id, decided_at_ms, unit, occasion, context, eligible)
SELECT decode(md5(n::text), 'hex'), 1, 1 + n %% 20, n %% 4, 0.25, 0, false, true, 1 + n / 100000, 1,
  1700000000000 + n * 5, 'r-' || lpad((n %% 4000000)::text, 9, '0'), '2026-11-24', NULL, NULL
FROM generate_series(%s::bigint, %s::bigint) AS n
"""
OLD = "SELECT key FROM decisions WHERE decided_at_ms >= %s ORDER BY decided_at_ms, key LIMIT %s"
WIPE = "UPDATE decisions SET unit = '', context = NULL WHERE key = ANY(%s) AND unit <> ''"
FIND = "SELECT unit FROM decisions WHERE key = %s"
PAGE = (
    "SELECT * FROM decisions WHERE experiment = 7 AND (decided_at_ms, key) > (%s, '')"
    " ORDER BY decided_at_ms, key LIMIT 250"
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What an act costs the server, whoever else is at work on the machine."""

    seconds: float  # Of processor time.
    log: int  # Bytes written ahead.


@dataclass(slots=True)
class Layout:
    """What was measured of one way to lay the table out."""

    name: str
    inserts: list[Cost] = field(default_factory=list)  # Million by million.
    sizes: dict[str, int] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)


def main() -> int:
    """Measure both layouts, and show or write what was found."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.sizing.rows", description=__doc__)
    parser.add_argument("--millions", type=int, default=5)
    parser.add_argument("--write-docs", action="store_true", help="put it into docs/growing.md")
    options = parser.parse_args()
    about = {"machine": machine(), "versions": versions()}
    with tempfile.TemporaryDirectory(prefix="pb-", ignore_cleanup_errors=True) as name:
        layouts = _measure(Path(name), options.millions)
    text = write_docs(layouts, options.millions, about, is_written=options.write_docs)
    print(text)
    return 0


def _measure(directory: Path, millions: int) -> list[Layout]:
    site = Site(directory, Cores(0, 0))
    with site.stack:
        url = site.postgres()
        subprocess.run(
            ["env", f"DATABASE_URL={url}", sys.executable, "-m", "service", "migrate"], check=True
        )
        whole, hashed = Layout("one table"), Layout("16 hash partitions")
        address = url.replace("+psycopg", "")
        # Nobody helps the one process whose time is counted.
        alone = "-c max_parallel_maintenance_workers=0 -c max_parallel_workers_per_gather=0"
        with psycopg.connect(address, autocommit=True, options=alone) as line:
            _grow(line, whole, millions)
            _use(line, whole, millions)
            hashed.costs["to lay it out anew"] = _cost(line, lambda: _lay_out(line))
            _grow(line, hashed, 1, since=millions)
            _use(line, hashed, millions + 1)
        return [whole, hashed]


def _lay_out(line: psycopg.Connection[tuple[object, ...]]) -> None:
    with line.transaction():
        line.execute(SCRIPT.read_text().encode())


def _grow(
    line: psycopg.Connection[tuple[object, ...]], layout: Layout, millions: int, since: int = 0
) -> None:
    for million in range(since, since + millions):
        first = million * MILLION
        fill = partial(line.execute, FILL, (first, first + MILLION - 1))
        layout.inserts.append(_cost(line, fill))
        print(f"{layout.name}: {million + 1} M, {layout.inserts[-1]}", file=sys.stderr)


def _use(line: psycopg.Connection[tuple[object, ...]], layout: Layout, millions: int) -> None:
    """Do what the service does to a large table, and read how large it is."""
    line.execute("VACUUM (ANALYZE) decisions")
    line.execute("CHECKPOINT")
    layout.sizes = _sizes(line)
    start_ms = 1_700_000_000_000 + millions * MILLION * 5 // 3
    key = line.execute("SELECT key FROM decisions OFFSET 1000 LIMIT 1").fetchone()
    acts: dict[str, Callable[[], object]] = {
        "1,000 pages of an export": lambda: _repeat(line, PAGE, (start_ms,)),
        "to find 1,000 keys, one by one": lambda: _repeat(line, FIND, key),
        "to wipe 100,000 rows": lambda: _wipe(line, start_ms),
        "to vacuum after that": lambda: line.execute("VACUUM decisions"),
    }
    for name, act in acts.items():
        layout.costs[name] = _cost(line, act)


def _repeat(
    line: psycopg.Connection[tuple[object, ...]], query: str, values: tuple[object, ...] | None
) -> None:
    for _ in range(1_000):
        line.execute(query, values)


def _wipe(line: psycopg.Connection[tuple[object, ...]], since_ms: int) -> None:
    for batch in range(WIPED // AT_ONCE):
        old = line.execute(OLD, (since_ms + batch * AT_ONCE * 5, AT_ONCE)).fetchall()
        line.execute(WIPE, ([key for (key,) in old],))


def _sizes(line: psycopg.Connection[tuple[object, ...]]) -> dict[str, int]:
    """Return bytes of the table and of each of its indexes, partitions together."""
    found = line.execute(
        "SELECT coalesce(i.indexdef, 'rows'), sum(pg_relation_size(c.oid))::bigint FROM pg_class c"
        " LEFT JOIN LATERAL (SELECT regexp_replace(pg_get_indexdef(c.oid), '^.*USING ', '')"
        "   AS indexdef WHERE c.relkind = 'i') i ON true"
        " WHERE c.relkind IN ('r', 'i') AND c.relname ~ '(^|_)decisions' "
        " AND c.relname !~ 'conflicting' GROUP BY 1 ORDER BY 2 DESC"
    ).fetchall()
    return {str(name): int(str(size)) for name, size in found}


def _cost(line: psycopg.Connection[tuple[object, ...]], act: Callable[[], object]) -> Cost:
    """Do something, and ask the kernel and the server what that took."""
    server = psutil.Process(line.info.backend_pid)
    times, place = server.cpu_times(), _log_place(line)
    act()
    after = server.cpu_times()
    seconds = after.user + after.system - times.user - times.system
    return Cost(seconds, _log_place(line) - place)


def _log_place(line: psycopg.Connection[tuple[object, ...]]) -> int:
    found = line.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    return int(str(found[0])) if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
