"""All the incidents there are, in the order of the page."""

from __future__ import annotations

from tests.incidents import rows_learning, rows_ledger, rows_serving
from tests.incidents.incident import Incident

INCIDENTS: tuple[Incident, ...] = (*rows_serving.ROWS, *rows_ledger.ROWS, *rows_learning.ROWS)
