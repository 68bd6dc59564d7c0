"""Recount the evidence from the ledger's rows: the difference is always zero, or it is a bug."""

from __future__ import annotations

from collections.abc import AsyncIterator

from service.logs import logger
from service.metrics import Metrics
from service.store.ports import Ledger
from service.store.records import RecountDifference

_log = logger(__name__)


async def differences(ledger: Ledger) -> AsyncIterator[tuple[int, RecountDifference]]:
    """Yield every measure that a recount denies, with its experiment's number."""
    for number in await ledger.evidence_revisions():
        for difference in await ledger.recount(number):
            yield number, difference


class Audit:
    """Recounts every experiment and exports how many measures differ."""

    def __init__(self, ledger: Ledger, metrics: Metrics) -> None:
        self._ledger = ledger
        self._metrics = metrics

    async def turn(self) -> None:
        """Recount everything once."""
        count = 0
        async for number, found in differences(self._ledger):
            count += 1
            _log.error(
                "evidence_differs",
                experiment=number,
                variant=found.variant,
                hour=found.hour,
                measure=found.measure,
                evidence=found.evidence,
                recount=found.recount,
            )
        self._metrics.audited(count)
