"""All the scenarios there are, in the order of the table."""

from __future__ import annotations

from tests.faults import rows_clients, rows_older, rows_redis, rows_sentinel
from tests.faults.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *rows_redis.ROWS,
    *rows_sentinel.ROWS,
    *rows_older.ROWS,
    *rows_clients.ROWS,
)
