"""The parts of a worker that erase, over real files and a real database, by a clock of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import update

from service.domain.clock import HOUR_MS, SECOND_MS
from service.domain.erasure import Erasure
from service.metrics import Metrics
from service.privacy import Eraser, Erasures
from service.privacy.eraser import SETTLED_MS
from service.store.outbox_reader import SegmentReader
from service.store.quarantine import QuarantineFiles
from service.store.sql_database import SqlDatabase
from service.store.sql_ledger import SqlLedger
from service.store.sql_privacy import SqlErasureStore
from service.store.sql_tables import outbox_positions
from service.worker.drain import Drain
from tests.sql_stores import opened
from tests.store_records import HandClock


@dataclass(frozen=True)
class ErasingWorker:
    """A drain and an eraser that take their turns when the test says so."""

    clock: HandClock
    database: SqlDatabase
    ledger: SqlLedger
    store: SqlErasureStore
    reader: SegmentReader
    drain: Drain
    eraser: Eraser
    erasures: Erasures

    async def drain_all(self) -> None:
        """Commit everything that the outbox holds."""
        while await self.drain.turn():
            pass

    async def turn(self, later_ms: int = 0) -> None:
        """Let time pass, then drain, clean up and erase, as the loops would."""
        self.clock.at_ms += later_ms
        # The database has a clock of its own, which no test can set.
        older = update(outbox_positions).values(at_ms=outbox_positions.c.at_ms - later_ms)
        await self.database.write(lambda connection: connection.execute(older))
        await self.drain_all()
        await self.drain.clean()
        await self.eraser.turn()

    async def until_done(self, erasure_id: str, hours: int = 4) -> Erasure:
        """Let hours pass; return the request."""
        for _ in range(hours):
            await self.turn(HOUR_MS + SECOND_MS)
            await self.turn(SETTLED_MS)
        return await self.store.get(1, erasure_id)


def _time_of(outbox: Path) -> int:
    outbox.mkdir(parents=True, exist_ok=True)
    return outbox.stat().st_mtime_ns // 1_000_000 + SECOND_MS


@asynccontextmanager
async def erasing_worker(url: str, outbox: Path) -> AsyncIterator[ErasingWorker]:
    """Open the parts; the clock begins at the time of the files."""
    clock, metrics = HandClock(_time_of(outbox)), Metrics()
    async with opened(url) as database:
        ledger, store = SqlLedger(database), SqlErasureStore(database)
        reader = SegmentReader(outbox, clock)
        yield ErasingWorker(
            clock=clock,
            database=database,
            ledger=ledger,
            store=store,
            reader=reader,
            drain=Drain(reader, ledger, clock, metrics),
            eraser=Eraser(store, reader, QuarantineFiles(outbox), clock, metrics),
            erasures=Erasures(store=store, make_id=lambda: "a" * 32, clock=clock),
        )


def files_telling(directory: Path, text: str) -> list[str]:
    """Return the files below a directory that hold a text."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if text.encode() in path.read_bytes())
