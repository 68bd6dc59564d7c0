"""The report of an experiment: per variant its numbers, their uncertainty, and the allocation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from service.domain.clock import Clock
from service.domain.evidence import Bucket
from service.domain.serving import ServingTable
from service.reporting.estimates import Estimates, Totals, estimates_of, totals_of
from service.reporting.formats import csv_lines, rfc3339
from service.store.ports import Ledger

NOTES = (
    "pulls are counted decisions, rewards are decisions that converted at least once, rate is "
    "rewards / pulls. Decisions whose attribution window is still open may yet convert.",
    "ci_low and ci_high are the ends of the 95 % credible interval of the rate, given all data.",
    "p_best and expected_loss compare the active variants by the evidence as the policy sees it: "
    "with a half-life, older sends count less. expected_loss is the rate lost by sending only "
    "that variant from now on.",
    "allocation is the share of the next sends outside the holdout, exploration floor included.",
    "Sends follow past results, so a variant that began badly is sent less and has less chance to "
    "recover: its rate and interval are biased low. Do not test differences between variants "
    "with these numbers as if the split had been fixed; use the exported propensities.",
)
COLUMNS = (
    "variant", "state", "is_control", "pulls", "rewards", "value", "rate", "ci_low", "ci_high",
    "p_best", "expected_loss", "allocation", "experiment", "policy", "holdout_share",
    "allocation_version", "generated_at",
)  # fmt: skip


class Tables(Protocol):
    """Where the allocations in force are looked up."""

    async def find(self, tenant: int, experiment_id: str) -> ServingTable:
        """Return an experiment's table, or raise `ExperimentNotFoundError`."""
        ...


class VariantReport(msgspec.Struct, frozen=True):
    """Hold the line of one variant; rates are None without pulls, estimates unless active."""

    variant: str
    state: str
    is_control: bool
    pulls: int
    rewards: int
    value: float
    rate: float | None
    ci_low: float
    ci_high: float
    p_best: float | None
    expected_loss: float | None
    allocation: float
    effective_pulls: float
    effective_rewards: float
    events: dict[str, int]


class TotalsReport(msgspec.Struct, frozen=True):
    """Hold the sums over all variants, retired ones included."""

    pulls: int
    rewards: int
    value: float
    rate: float | None


class Report(msgspec.Struct, frozen=True):
    """Hold the report of one experiment at one time."""

    experiment: str
    generated_at: str
    state: str
    policy: dict[str, Any]
    exploration_floor: float
    holdout: dict[str, Any]
    allocation_version: int
    evidence_revision: int
    variants: tuple[VariantReport, ...]
    totals: TotalsReport
    notes: tuple[str, ...] = NOTES

    def csv(self) -> str:
        """Return one line per variant under a header, as RFC 4180 has it."""
        return csv_lines([COLUMNS, *(self._cells(line) for line in self.variants)])

    def _cells(self, line: VariantReport) -> list[Any]:
        common = (
            self.experiment,
            self.policy["name"],
            self.holdout["share"],
            self.allocation_version,
            self.generated_at,
        )
        # All text in it is ids, states and times, none of which can start a formula.
        return [getattr(line, name) for name in COLUMNS[: -len(common)]] + list(common)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Make reports from the ledger's evidence, which is the truth at the time of asking.

    Parameters
    ----------
    ledger
        The evidence of all the experiment's life.
    tables
        The configuration and the allocation in force.
    clock
        Tells how old the evidence is.
    """

    ledger: Ledger
    tables: Tables
    clock: Clock

    async def report(self, tenant: int, experiment_id: str) -> Report:
        """Return the report of an experiment, now.

        Parameters
        ----------
        tenant, experiment_id
            Whose experiment, and which.

        Raises
        ------
        ExperimentNotFoundError
            The tenant has no such experiment.
        LedgerUnavailableError
            SQL cannot be read now.
        """
        table = await self.tables.find(tenant, experiment_id)
        change = await self.ledger.evidence(table.experiment.number)
        # Up to 100 variants take tens of milliseconds, which choices must not wait for.
        return await asyncio.to_thread(self._report, table, change.revision, change.buckets)

    def _report(self, table: ServingTable, revision: int, buckets: Sequence[Bucket]) -> Report:
        now_ms = self.clock.now_ms()
        experiment, allocation = table.experiment, table.allocation
        # Rows of a variant that was added after this table was made wait for the next report.
        known = [b for b in buckets if b.key.variant < len(experiment.variants)]
        totals = totals_of(known, len(experiment.variants))
        estimates = estimates_of(experiment, known, totals, now_ms)
        lines = tuple(_line(table, index, totals[index], estimates) for index in range(len(totals)))
        return Report(
            experiment=experiment.id,
            generated_at=rfc3339(now_ms),
            state=allocation.state,
            policy={"name": experiment.policy.name, **experiment.policy.parameters},
            exploration_floor=experiment.exploration_floor,
            holdout={"share": experiment.holdout.share, "kind": experiment.holdout.kind},
            allocation_version=allocation.version,
            evidence_revision=revision,
            variants=lines,
            totals=_sum(totals),
        )


def _line(table: ServingTable, index: int, totals: Totals, estimates: Estimates) -> VariantReport:
    slot = table.allocation.slots[index]
    return VariantReport(
        variant=slot.id,
        state=slot.state,
        is_control=index == table.allocation.control,
        pulls=totals.pulls,
        rewards=totals.rewards,
        value=totals.value,
        rate=totals.rate,
        ci_low=estimates.ci_low[index],
        ci_high=estimates.ci_high[index],
        p_best=estimates.p_best[index],
        expected_loss=estimates.expected_loss[index],
        allocation=table.allocation.propensities[index],
        effective_pulls=estimates.effective_pulls[index],
        effective_rewards=estimates.effective_rewards[index],
        events=totals.events,
    )


def _sum(totals: Sequence[Totals]) -> TotalsReport:
    whole = Totals(
        pulls=sum(each.pulls for each in totals),
        rewards=sum(each.rewards for each in totals),
        value_micros=sum(each.value_micros for each in totals),
    )
    return TotalsReport(whole.pulls, whole.rewards, whole.value, whole.rate)
