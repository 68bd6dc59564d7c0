"""An experiment's health: what every check last said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from service.domain.quality import QualityState
from service.domain.serving import ServingTable
from service.store.quality_ports import QualityStates

CHECK_NAMES = ("split", "reward_rate", "missing_rewards", "duplicates", "orphans", "values")


class Tables(Protocol):
    """Where experiments are looked up."""

    async def find(self, tenant: int, experiment_id: str) -> ServingTable:
        """Return an experiment's table, or raise `ExperimentNotFoundError`."""
        ...


class Health(Struct, frozen=True):
    """The states of an experiment's checks, by name; None where none has looked yet."""

    experiment: str
    checks: dict[str, QualityState | None]

    @property
    def worst(self) -> QualityState | None:
        """The worst state, the oldest of equals; None before any check has looked."""
        states = [state for state in self.checks.values() if state is not None]
        return min(states, key=lambda each: (-each.state, each.since_ms), default=None)

    @property
    def checked_at_ms(self) -> int | None:
        """When any check last looked, None before one has."""
        states = [state for state in self.checks.values() if state is not None]
        return max((state.checked_at_ms for state in states), default=None)


@dataclass(frozen=True, slots=True)
class Healths:
    """Looks up what the worker's watch has found out."""

    states: QualityStates
    tables: Tables

    async def health(self, tenant: int, experiment_id: str) -> Health:
        """Return an experiment's health; raises `ExperimentNotFoundError`."""
        table = await self.tables.find(tenant, experiment_id)
        states = await self.states.of_experiment(table.experiment.number)
        by_name = {state.check: state for state in states}
        return Health(experiment_id, {name: by_name.get(name) for name in CHECK_NAMES})
