"""All the scenarios there are, in the order of the table."""

from __future__ import annotations

from tests.faults import (
    rows_clients,
    rows_clock,
    rows_cluster,
    rows_older,
    rows_outbox,
    rows_process,
    rows_redis,
    rows_rewards,
    rows_sentinel,
    rows_sql,
    rows_worker,
)
from tests.faults.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *rows_redis.ROWS,
    *rows_sentinel.ROWS,
    *rows_cluster.ROWS,
    *rows_sql.ROWS,
    *rows_older.ROWS,
    *rows_worker.ROWS,
    *rows_rewards.ROWS,
    *rows_process.ROWS,
    *rows_outbox.ROWS,
    *rows_clock.ROWS,
    *rows_clients.ROWS,
)
