"""Incidents on the way into the ledger, and in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from tests.faults.ledger import head
from tests.faults.proxy import Mode
from tests.faults.segments import frames_in, segment_of
from tests.incidents.incident import EXPERIMENT, Incident, Scene
from tests.incidents.rows_serving import WITHOUT_SQL

GATHER_SECONDS = 5.0


@contextmanager
def without_sql(scene: Scene) -> Iterator[None]:
    assert scene.stack.sql_proxy is not None
    scene.stack.sql_proxy.switch(Mode.REFUSE)
    yield
    scene.stack.sql_proxy.mend()


@contextmanager
def evidence_is_lost(scene: Scene) -> Iterator[None]:
    """Delete a row of the evidence by hand, as somebody might who cleans up."""
    number, _ = head(scene.stack, EXPERIMENT)
    engine = scene.stack.sql.engine()
    row = "(SELECT ctid FROM evidence WHERE experiment = :number LIMIT 1)"
    with engine.begin() as connection:
        statement = f"DELETE FROM evidence WHERE ctid IN {row}"  # noqa: S608  All of it is ours.
        deleted = connection.execute(text(statement), {"number": number}).rowcount
    engine.dispose()
    assert deleted == 1
    yield


@contextmanager
def a_record_is_damaged(scene: Scene) -> Iterator[None]:
    """Flip a byte of a record before the worker has read it, as a bad disk does."""
    worker, api = scene.stack.workers[0], scene.stack.apis[0]
    outbox = Path(scene.stack.environment["PROMOBANDIT_OUTBOX_DIR"])
    worker.pause()
    behind = len(frames_in(segment_of(outbox, api.pid)))
    time.sleep(GATHER_SECONDS)
    segment = segment_of(outbox, api.pid)
    fresh = frames_in(segment)[behind:]
    victim = fresh[len(fresh) // 2]
    with segment.open("r+b") as file:
        file.seek((victim.start + victim.end) // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0xFF]))
    worker.go_on()
    yield


ROWS = (
    Incident(
        name="SQL refuses connections",
        alerts=("PromobanditOutboxOld",),
        breaking=without_sql,
        besides=WITHOUT_SQL,
    ),
    Incident(
        name="A row of the evidence is deleted by hand",
        alerts=("PromobanditAuditDifference",),
        breaking=evidence_is_lost,
    ),
    Incident(
        name="A byte of a record in the outbox is flipped",
        alerts=("PromobanditQuarantinedRecords",),
        breaking=a_record_is_damaged,
    ),
)
