"""The hot routes over memory stores, for tests: everything real but the servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from service.api.admission import Admission
from service.api.authentication import Authentication
from service.api.hot import HotRoutes
from service.api.hot_dispatch import HotDispatcher
from service.bulk import Bulk
from service.decisions import Decisions
from service.domain.allocation import EffectiveEvidence, Publication, allocation_of
from service.domain.experiment import Experiment, Variant
from service.domain.serving import ServingTable
from service.domain.token import TokenCodec
from service.errors import ExperimentNotFoundError, LedgerUnavailableError
from service.metrics import Metrics
from service.rewards import Rewards, Tallies
from service.store.memory_ledger import MemoryLedger
from service.store.memory_quality import MemoryTallyStore
from service.store.memory_redis import MemoryOutbox, MemoryReplays
from tests.keys import an_open_keyring

NOW_MS = 1_795_000_000_000


@dataclass
class HandClock:
    """A clock that is set by hand."""

    at_ms: int = NOW_MS

    def now_ms(self) -> int:
        """Return the time set."""
        return self.at_ms

    def monotonic_ms(self) -> int:
        """Return the same: nobody sets this clock back unless a test does it on purpose."""
        return self.at_ms


class HeldTables:
    """The tables a test holds; there is nobody else to ask."""

    def __init__(self) -> None:
        self.by_name: dict[str, ServingTable] = {}

    def hold(self, experiment: Experiment, version: int, weights: tuple[int, ...]) -> None:
        """Put an allocation in force."""
        allocation = allocation_of(experiment, version, weights, NOW_MS, "test")
        evidence = EffectiveEvidence(0, (0.0,) * len(weights), (0.0,) * len(weights))
        publication = Publication(allocation, evidence, NOW_MS)
        self.by_name[experiment.id] = ServingTable(publication, experiment)

    def get(self, tenant: int, experiment_id: str) -> ServingTable | None:
        """Return a held table, or None."""
        table = self.by_name.get(experiment_id)
        return table if table and table.experiment.tenant == tenant else None

    async def find(
        self, tenant: int, experiment_id: str, deadline: float | None = None
    ) -> ServingTable:
        """Return a held table, or raise."""
        del deadline
        table = self.get(tenant, experiment_id)
        if table is None:
            raise ExperimentNotFoundError("no such experiment")
        return table

    async def newer(self, table: ServingTable) -> ServingTable:
        """Return what is held of the same experiment."""
        return self.by_name[table.experiment.id]

    def by_number(self, number: int) -> ServingTable | None:
        """Return a held table, or None."""
        return next((t for t in self.by_name.values() if t.experiment.number == number), None)

    async def find_number(self, number: int, deadline: float | None = None) -> ServingTable:
        """Return a held table, or raise."""
        del deadline
        table = self.by_number(number)
        if table is None:
            raise ExperimentNotFoundError("no such experiment")
        return table


class LedgerThatFails(MemoryLedger):
    """A ledger that can be taken down."""

    is_down = False

    async def append(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  Whatever the port says.
        """Append, or raise while it is down."""
        if self.is_down:
            raise LedgerUnavailableError("SQL is down")
        return await super().append(*args, **kwargs)


@dataclass
class HotRig:
    """One API process's worth of hot routes."""

    clock: HandClock = field(default_factory=HandClock)
    tables: HeldTables = field(default_factory=HeldTables)
    replays: MemoryReplays = field(default_factory=MemoryReplays)
    outbox: MemoryOutbox = field(default_factory=MemoryOutbox)
    ledger: LedgerThatFails = field(default_factory=LedgerThatFails)
    metrics: Metrics = field(default_factory=Metrics)
    codec: TokenCodec = field(default_factory=lambda: TokenCodec({1: b"k" * 32}, 1))

    def __post_init__(self) -> None:
        nonces = count()
        self.decisions = Decisions(
            tables=self.tables,
            replays=self.replays,
            outbox=self.outbox,
            ledger=self.ledger,
            codec=lambda: self.codec,
            clock=self.clock,
            nonce=lambda: f"nonce-{next(nonces)}",
            metrics=self.metrics,
        )
        self.rewards = Rewards(
            tables=self.tables,
            ledger=self.ledger,
            outbox=self.outbox,
            codec=lambda: self.codec,
            clock=self.clock,
            metrics=self.metrics,
            tallies=Tallies(MemoryTallyStore(), self.clock),
        )
        routes = HotRoutes(self.decisions, Bulk(self.decisions), self.rewards)
        self.keyring = an_open_keyring(self.clock)
        self.admission = Admission(self.metrics.overload)
        authentication = Authentication(self.keyring)
        self.app = HotDispatcher(routes, authentication, self.admission, _inner, self.metrics)

    def experiment(self, **changes: Any) -> Experiment:  # noqa: ANN401  The fields of Experiment.
        """Put an experiment of variants a (control), b and c in force, with weights 2:1:1."""
        fields: dict[str, Any] = {
            "tenant": 1,
            "number": 1,
            "id": "autumn",
            "revision": 1,
            "salt": b"s" * 16,
            "variants": tuple(
                Variant(name, {"subject": name}, is_control=name == "a") for name in "abc"
            ),
        }
        experiment = Experiment(**{**fields, **changes})
        weights = (2**31, 2**30, 2**30) + (0,) * (len(experiment.variants) - 3)
        self.tables.hold(experiment, 1, weights)
        return experiment

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Talk to the routes in process."""
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


async def _inner(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001  ASGI.
    """Answer 404 to everything: the application behind the hot routes."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})
