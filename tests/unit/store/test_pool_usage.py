"""Pools tell how many of their connections are in use."""

from __future__ import annotations

from pathlib import Path

from service.store.sql_database import READERS, REPORTERS, SqlDatabase


async def test_a_query_is_seen_in_its_pool_while_it_runs(tmp_path: Path) -> None:
    database = SqlDatabase(f"sqlite:///{tmp_path / 'ledger.db'}")

    def both(_: object) -> tuple[tuple[int, int], tuple[int, int]]:
        return database.usage, database.report_usage

    seen = [await database.read(both), await database.read(both, is_report=True), both(None)]
    await database.dispose()

    limit = READERS + 1
    assert seen == [
        ((1, limit), (0, REPORTERS)),
        ((0, limit), (1, REPORTERS)),
        ((0, limit), (0, REPORTERS)),
    ]
