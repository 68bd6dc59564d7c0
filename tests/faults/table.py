"""All the scenarios there are, in the order of the table."""

from __future__ import annotations

from tests.faults import rows_redis
from tests.faults.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (*rows_redis.ROWS,)
