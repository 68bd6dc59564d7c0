"""What operators see of the worker: the way into the ledger, its loops, and what it restores."""

from __future__ import annotations

from service.metrics.instruments import Instruments


class WorkerMetrics:
    """What the worker counts; allocation versions are also written by administrative acts."""

    def __init__(self, instruments: Instruments) -> None:
        c, g = instruments.counter, instruments.gauge
        self._outbox_bytes = g("outbox_bytes", "Bytes of the outbox not yet in the ledger")
        self._outbox_age = g("outbox_age_seconds", "Age of the oldest record not in the ledger")
        self._ledger_lag = g("ledger_lag_seconds", "Age of the last record when it was committed")
        self._drained = c("drained_records", "Outbox records committed to the ledger", "kind")
        self._quarantined = c("quarantined_records", "Records that the ledger can never take")
        self._damaged = c("damaged_records", "Outbox records that failed their checksum")
        self._conflicts = c("conflicting_answers", "Answers that differ from the key's first one")
        self._ledger_failures = c("ledger_failures", "Drain transactions that SQL did not take")
        self._went_back = c("ledger_went_back", "Segments that SQL had lost some of")
        self._removed_early = c("segments_removed_early", "Drained segments deleted to make room")
        self._adopted = c("adopted_allocations", "Allocations put back into SQL from Redis")
        self._written_back = c("written_back_decisions", "Fallback answers told to Redis later")
        self._audit_difference = g("audit_difference", "Evidence measures that a recount denies")
        self._audits = c("audit_runs", "Recounts of all evidence")
        self._restores = c("restore_runs", "Restorations of Redis from the ledger")
        self._restored = c("restored_decisions", "Decisions written back to the replay memory")
        self._loop_success = g(
            "loop_success_timestamp_seconds", "When a loop of the worker last succeeded", "loop"
        )
        self._loop_failures = c("loop_failures", "Turns of a worker's loop that failed", "loop")
        self._written = c("allocations_written", "Allocation versions written")
        self._allocation_failures = c("allocation_failures", "Allocations that failed")

    def outbox_backlog(self, size: int, age_seconds: float) -> None:
        """Note what of the outbox is not in the ledger yet."""
        self._outbox_bytes.set(size)
        self._outbox_age.set(age_seconds)

    def drained(self, kind: str, count: int) -> None:
        """Count records committed to the ledger."""
        self._drained.labels(kind).inc(count)

    def committed(self, lag_seconds: float, conflicts: int) -> None:
        """Note how late a transaction was and how many of its answers differed."""
        self._ledger_lag.set(lag_seconds)
        self._conflicts.inc(conflicts)

    def quarantined(self) -> None:
        """Count a record put aside."""
        self._quarantined.inc()

    def damaged(self, count: int) -> None:
        """Count records that cannot be read."""
        self._damaged.inc(count)

    def ledger_failed(self) -> None:
        """Count a drain transaction that failed."""
        self._ledger_failures.inc()

    def ledger_went_back(self) -> None:
        """Count a segment of which SQL had lost something."""
        self._went_back.inc()

    def removed_early(self) -> None:
        """Count a drained segment that was deleted before its hour was over."""
        self._removed_early.inc()

    def adopted(self) -> None:
        """Count an allocation that Redis had and SQL had lost."""
        self._adopted.inc()

    def written_back(self, count: int) -> None:
        """Count answers given without Redis that it was told later."""
        self._written_back.inc(count)

    def audited(self, differences: int) -> None:
        """Note the outcome of a recount."""
        self._audit_difference.set(differences)
        self._audits.inc()

    def restored(self, decisions: int) -> None:
        """Count a restoration of Redis."""
        self._restores.inc()
        self._restored.inc(decisions)

    def loop_succeeded(self, loop: str, at_ms: int) -> None:
        """Note that a loop is alive."""
        self._loop_failures.labels(loop)
        self._loop_success.labels(loop).set(at_ms / 1_000)

    def loop_failed(self, loop: str) -> None:
        """Count a turn of a loop that failed."""
        self._loop_failures.labels(loop).inc()

    def allocation_written(self) -> None:
        """Count a new version."""
        self._written.inc()

    def allocation_failed(self) -> None:
        """Count an experiment that could not be allocated."""
        self._allocation_failures.inc()
