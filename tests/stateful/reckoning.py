"""The last reckoning: ledger, evidence and allocations against the model."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.reward import RewardStatus
from service.store.records import LedgerRow
from tests.stateful.model import LedgerModel, Measures, Told
from tests.stateful.world import Process, Servers


class Reckoning:
    """Compares what stands in the stores, once all faults are over, with what was told."""

    def __init__(self, servers: Servers, ledger: LedgerModel, told: Sequence[Told]) -> None:
        self._servers = servers
        self._ledger = ledger
        self._told = told

    async def all(self, processes: Sequence[Process]) -> None:
        """Check everything."""
        heads = await self._servers.allocations.heads()
        rows: list[LedgerRow] = []
        for number in heads:
            page, _ = await self._servers.ledger.rows(number, None, 100_000)
            rows += page
        self._decisions(rows)
        self._rewards(rows)
        await self._evidence(list(heads))
        await self._allocations(heads, processes)

    def _decisions(self, rows: Sequence[LedgerRow]) -> None:
        """Every answer that was told stands in the ledger, and each key counts once."""
        kept = {
            (d.key, d.variant, d.version, d.decided_at_ms) for d in (row.decision for row in rows)
        }
        firsts = {told.answer for told in self._ledger.firsts.values()}
        assert {told.answer for told in self._told} <= kept
        assert kept == firsts | self._ledger.beside
        counted = [row.decision.key for row in rows if row.counted]
        expected = [told.key for told in self._ledger.firsts.values() if told.is_counted]
        assert sorted(counted) == sorted(expected)

    def _rewards(self, rows: Sequence[LedgerRow]) -> None:
        """Every reward that was acknowledged stands there once, with its status."""
        kept = {
            (reward.key, reward.event, reward.event_id): RewardStatus(reward.status).name
            for reward in self._servers.ledger._rewards
        }
        assert len(kept) == len(self._servers.ledger._rewards)
        assert kept == {name: each.status for name, each in self._ledger.credits.items()}
        assert sum(len(row.rewards) for row in rows) == len(kept)

    async def _evidence(self, numbers: Sequence[int]) -> None:
        """Evidence equals a recount, and the model; Redis shows the same."""
        ledger = self._servers.ledger
        expected = self._ledger.evidence()
        found: dict[tuple[int, int, int], Measures] = {}
        for number in numbers:
            assert await ledger.recount(number) == []
            for bucket in (await ledger.evidence(number)).buckets:
                place = (number, bucket.key.variant, bucket.key.hour)
                found[place] = (bucket.pulls, bucket.conversions, bucket.events)
            publication = await self._servers.published.fetch(number)
            assert publication is not None
            for variant, pulls in enumerate(publication.evidence.pulls):
                own = [m for (e, v, _), m in expected.items() if (e, v) == (number, variant)]
                assert pulls == sum(pulled for pulled, _, _ in own)
                successes = publication.evidence.successes[variant]
                assert successes == sum(converted for _, converted, _ in own)
        assert found == expected

    async def _allocations(self, heads: dict[int, int], processes: Sequence[Process]) -> None:
        """Redis and every process hold the SQL head."""
        assert await self._servers.published.versions(list(heads)) == heads
        for process in processes:
            held = {t.allocation.experiment: t.allocation.version for t in process.tables.all()}
            assert held == heads
        for experiment in await self._servers.experiments.all():
            head = await self._servers.allocations.head(experiment.number)
            assert head is not None
            assert (head.revision, head.state) == (experiment.revision, experiment.state)
