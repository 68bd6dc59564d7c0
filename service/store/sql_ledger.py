"""The ledger in SQL: appends with their evidence, and what is read from it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from service.domain.decision import Decision
from service.domain.reward import Reward
from service.store import sql_evidence, sql_export
from service.store.records import (
    Cursor,
    EvidenceChange,
    LedgerOutcome,
    LedgerRow,
    OutboxPosition,
    RecountDifference,
)
from service.store.sql_append import AppendStatements, UnlockableError, append
from service.store.sql_append_postgres import PostgresAppend, add_revisions
from service.store.sql_append_sqlite import SqliteAppend
from service.store.sql_checks import refuse_poison
from service.store.sql_database import SqlDatabase


class SqlLedger:
    """See `service.store.ports.Ledger`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self._statements: AppendStatements = (
            SqliteAppend() if database.is_sqlite else PostgresAppend()
        )

    async def append(
        self,
        decisions: Sequence[Decision],
        rewards: Sequence[Reward],
        position: OutboxPosition | None = None,
    ) -> LedgerOutcome:
        """Insert what is new, in one transaction with evidence and outbox position."""
        refuse_poison(decisions, rewards)
        records = (decisions, rewards)
        change = partial(append, statements=self._statements, records=records, position=position)
        try:
            return await self._database.write(change)
        except UnlockableError as error:
            # Once in an experiment's life. Committed on its own, or two first appends that bring
            # new rows to some experiments and lock those of others could wait for one another.
            await self._database.write(partial(add_revisions, experiments=error.experiments))
        return await self._database.write(change)

    async def evidence(self, experiment: int, above_revision: int = 0) -> EvidenceChange:
        """Return the buckets changed above a revision and the newest revision."""
        return await self._database.read(
            partial(sql_evidence.changes, experiment=experiment, above_revision=above_revision)
        )

    async def evidence_revisions(self) -> dict[int, int]:
        """Return the newest evidence revision of every experiment that has evidence."""
        return await self._database.read(sql_evidence.revisions)

    async def recount(self, experiment: int) -> list[RecountDifference]:
        """Recount the evidence from the rows, in one snapshot; an empty list means equal."""
        return await self._database.read(
            partial(sql_evidence.recount, experiment=experiment), is_patient=True
        )

    async def rows(
        self, experiment: int, after: Cursor | None, count: int
    ) -> tuple[list[LedgerRow], Cursor | None]:
        """Return decisions in order of time with their rewards, and where to go on."""
        return await self._database.read(
            partial(sql_export.rows, experiment=experiment, after=after, count=count),
            is_report=True,
        )

    async def recent_decisions(
        self, since_ms: int, before: Cursor | None, count: int
    ) -> tuple[list[Decision], Cursor | None]:
        """Return first-committed decisions of all experiments, newest first."""
        return await self._database.read(
            partial(sql_export.recent_decisions, since_ms=since_ms, before=before, count=count)
        )

    async def unconfirmed_decisions(
        self, since_ms: int, before: Cursor | None, count: int
    ) -> tuple[list[Decision], Cursor | None]:
        """Return first-committed decisions that Redis may not know, newest first."""
        return await self._database.read(
            partial(sql_export.unconfirmed_decisions, since_ms=since_ms, before=before, count=count)
        )

    async def position(self, segment: str) -> int:
        """Return how far a segment is committed; 0 for an unknown one."""
        return await self._database.read(partial(sql_evidence.position, segment=segment))

    async def positions(self, segments: Sequence[str]) -> dict[str, int]:
        """Return how far segments are committed; unknown ones are left out."""
        return await self._database.read(partial(sql_evidence.positions, segments=segments))

    async def settled_positions(self, segments: Sequence[str], pause_ms: int) -> dict[str, int]:
        """Return the positions that have not moved for so long, by the database's clock."""
        return await self._database.read(
            partial(sql_evidence.settled_positions, segments=segments, pause_ms=pause_ms)
        )

    async def first_decisions(self, keys: Sequence[bytes]) -> list[Decision]:
        """Return the first-committed decisions of keys; unknown ones are left out."""
        return await self._database.read(partial(sql_export.first_decisions, keys=keys))

    async def named_version(self, experiment: int) -> int:
        """Return the highest version that an experiment's latest decisions name, or 0."""
        return await self._database.read(partial(sql_export.named_version, experiment=experiment))

    async def renew_revisions(self, jump: int, experiments: Sequence[int]) -> None:
        """Add a number to the evidence revision of every experiment, and of the given ones."""
        change = partial(sql_evidence.renew_revisions, jump=jump, experiments=experiments)
        await self._database.write(change, is_repeatable=False)

    async def forget_segment(self, segment: str) -> None:
        """Drop the position of a deleted segment."""
        await self._database.write(partial(sql_evidence.forget_segment, segment=segment))

    async def is_reachable(self) -> bool:
        """Return whether SQL answers; never raises."""
        return await self._database.is_reachable()
