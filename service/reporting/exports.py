"""Every decision of an experiment with its rewards, streamed page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import msgspec

from service.domain.decision import Decision, Source
from service.domain.experiment import Experiment
from service.domain.reward import MICROS, Reward, RewardStatus
from service.domain.token import TokenCodec
from service.reporting.formats import Cell, csv_lines, harmless, harmless_json, rfc3339
from service.store.ports import ExperimentStore, Ledger
from service.store.records import Cursor, LedgerRow

# Small pages: building one keeps the event loop from choices for a few milliseconds.
PAGE_ROWS = 250

_encoder = msgspec.json.Encoder()


class ExportedReward(msgspec.Struct, frozen=True):
    """Hold a reward as analysts see it."""

    event: str
    value: float
    occurred_at: str
    received_at: str
    status: str


class ExportedDecision(msgspec.Struct, frozen=True):
    """Hold a decision as analysts see it; the fields are the columns, in this order.

    `decision_id` is None if the key that signed it is gone. An `occasion` that starts with `~`
    is the service's own, for a choice without one.
    """

    decision_id: str | None
    experiment: str
    variant: str
    unit: str
    occasion: str
    propensity: float
    source: str
    holdout: bool
    counted: bool
    allocation_version: int
    decided_at: str
    context: msgspec.Raw | None
    rewards: tuple[ExportedReward, ...]


COLUMNS = ExportedDecision.__struct_fields__
# Units and occasions are made up by callers. Tokens are left as they are: a leading `-` in one
# starts no formula that does anything, and it must still be found by its spelling.
_MADE_UP = ("unit", "occasion")


@dataclass(frozen=True, slots=True)
class Exports:
    """Open exports.

    Parameters
    ----------
    experiments, ledger
        Where configurations and rows are read.
    codec
        Returns what signs decision ids; new keys may join while we run.
    """

    experiments: ExperimentStore
    ledger: Ledger
    codec: Callable[[], TokenCodec]

    async def open(self, tenant: int, experiment_id: str) -> Export:
        """Read the first page, so that errors are told before an answer begins.

        Parameters
        ----------
        tenant, experiment_id
            Whose experiment, and which.

        Raises
        ------
        ExperimentNotFoundError
            The tenant has no such experiment.
        LedgerUnavailableError
            SQL cannot be read now; while streaming, it ends the answer short.
        """
        experiment = await self.experiments.get(tenant, experiment_id)
        rows, cursor = await self.ledger.rows(experiment.number, None, PAGE_ROWS)
        return Export(self, experiment, rows, cursor)


class Export:
    """Stream one experiment's decisions in order of time, once, never all in memory.

    Parameters
    ----------
    source
        Where further pages come from.
    experiment
        Gives the ids of the variants.
    rows, cursor
        The first page, and where the next one starts (None: nowhere).
    """

    def __init__(
        self, source: Exports, experiment: Experiment, rows: list[LedgerRow], cursor: Cursor | None
    ) -> None:
        self._source = source
        self._experiment = experiment
        self._rows = rows
        self._cursor = cursor

    async def ndjson(self) -> AsyncIterator[bytes]:
        """Yield lines of JSON, a page at a time."""
        async for page in self._pages():
            yield _encoder.encode_lines(page)

    async def csv(self) -> AsyncIterator[str]:
        """Yield CSV text with a header line, a page at a time; rewards are a JSON cell."""
        yield csv_lines([COLUMNS])
        async for page in self._pages():
            yield csv_lines(_cells(row) for row in page)

    async def _pages(self) -> AsyncIterator[list[ExportedDecision]]:
        rows, cursor = self._rows, self._cursor
        self._rows = []
        while rows:
            yield await self._exported(rows)
            if cursor is None:
                return
            rows, cursor = await self._source.ledger.rows(
                self._experiment.number, cursor, PAGE_ROWS
            )

    async def _exported(self, rows: Sequence[LedgerRow]) -> list[ExportedDecision]:
        if max(row.decision.variant for row in rows) >= len(self._experiment.variants):
            # A variant was added while we were streaming.
            number = self._experiment.number
            self._experiment = await self._source.experiments.by_number(number)
        codec = self._source.codec()
        return [_exported(row, self._experiment, codec) for row in rows]


def _exported(row: LedgerRow, experiment: Experiment, codec: TokenCodec) -> ExportedDecision:
    decision = row.decision
    context = decision.context
    return ExportedDecision(
        decision_id=_decision_id(decision, codec),
        experiment=experiment.id,
        variant=experiment.variants[decision.variant].id,
        unit=decision.unit,
        occasion=decision.occasion,
        propensity=decision.propensity,
        source=Source(decision.source).name,
        holdout=decision.holdout,
        counted=row.counted,
        allocation_version=decision.version,
        decided_at=rfc3339(decision.decided_at_ms),
        context=None if context is None else msgspec.Raw(context),
        rewards=tuple(_exported_reward(reward) for reward in row.rewards),
    )


def _decision_id(decision: Decision, codec: TokenCodec) -> str | None:
    try:
        return codec.encode(decision)
    except KeyError:
        return None


def _exported_reward(reward: Reward) -> ExportedReward:
    return ExportedReward(
        event=reward.event,
        value=reward.value_micros / MICROS,
        occurred_at=rfc3339(reward.occurred_at_ms),
        received_at=rfc3339(reward.received_at_ms),
        status=RewardStatus(reward.status).name,
    )


def _cells(row: ExportedDecision) -> list[Cell]:
    return [_cell(name, getattr(row, name)) for name in COLUMNS]


def _cell(name: str, value: object) -> Cell:
    if name in _MADE_UP:
        return harmless(str(value))
    if isinstance(value, msgspec.Raw):
        return harmless_json(bytes(value).decode())
    if isinstance(value, tuple):
        return harmless_json(_encoder.encode(value).decode())
    assert value is None or isinstance(value, str | int | float)  # noqa: S101
    return value
