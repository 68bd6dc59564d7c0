"""Whether the database has the tables that this release was written for."""

from __future__ import annotations

from service.logs import logger
from service.store.sql_database import SqlDatabase

_log = logger(__name__)


class Schema:
    """Looks until the schema is there: a release may start before its migration has run."""

    def __init__(self, database: SqlDatabase, *, migrate: bool) -> None:
        self._database = database
        self._migrate = migrate
        self._is_there = False
        self.is_behind = False  # Known to be; while SQL cannot be asked, nobody waits for it.

    async def look(self) -> None:
        """Bring it up to date, or find out whether somebody must, until nobody need any more."""
        if self._is_there:
            return
        if self._migrate:
            await self._database.migrate()
        self._is_there = self._migrate or await self._database.is_current()
        if not self._is_there and not self.is_behind:
            _log.error("schema_is_not_current", remedy="run promobandit migrate")
        self.is_behind = not self._is_there
