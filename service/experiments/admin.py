"""The use case behind the admin routes: change a configuration, audit it, put it in force."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

from msgspec.structs import replace

from service.domain.allocation import Publication
from service.domain.clock import Clock
from service.domain.experiment import AuditEntry, Experiment
from service.domain.serving import ServingTable
from service.errors import (
    ExperimentNotFoundError,
    InvalidInputError,
    RevisionConflictError,
    StateConflictError,
)
from service.experiments.definition import (
    Definition,
    checked,
    first_revision,
    is_same,
    redefined,
)
from service.experiments.lifecycle import Act, VariantAct, moved, variant_moved
from service.store.ports import ExperimentStore

# Other processes' changes may slip in between reading and writing; so often we start again.
ATTEMPTS_MAX = 10
CREATIONS_MAX = 2  # The second one above what the first one met.

Step = Callable[[Experiment], Experiment]


class Tables(Protocol):
    """The allocations that this process serves from."""

    def get(self, tenant: int, experiment_id: str) -> ServingTable | None:
        """Return the table held, or None."""
        ...

    def offer(self, table: ServingTable) -> object:
        """Take a table if its version is higher than that of the one held."""
        ...

    async def highest_number(self) -> int:
        """Return the highest number of an experiment that is held or published."""
        ...


class Target(NamedTuple):
    """Whose experiment is meant, and who acts on it."""

    tenant: int
    experiment_id: str
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiments:
    """Changes experiments; whatever an act answers is already in force in this process."""

    store: ExperimentStore
    tables: Tables
    reallocate: Callable[[Experiment, str], Awaitable[Publication]]
    make_salt: Callable[[], bytes]
    clock: Clock
    _turns: WeakValueDictionary[tuple[int, str], asyncio.Lock] = field(
        default_factory=WeakValueDictionary
    )

    async def put(self, target: Target, wanted: Definition) -> tuple[Experiment, bool]:
        """Create or update; the second is whether it was created."""
        wanted = checked(wanted)
        async with self._turn(target):
            return await self._put(target, wanted)

    async def _put(self, target: Target, wanted: Definition) -> tuple[Experiment, bool]:
        try:
            return await self._change(target, "update", lambda e: redefined(e, wanted)), False
        except ExperimentNotFoundError:
            first = first_revision(wanted, target.tenant, target.experiment_id)
        try:
            return await self._create(first, target.actor), True
        except StateConflictError:
            # Somebody else created it meanwhile: then this is an update of theirs.
            return await self._change(target, "update", lambda e: redefined(e, wanted)), False

    async def act(self, target: Target, act: Act) -> Experiment:
        """Pause, resume or stop; an experiment that is so already stays as it is."""
        async with self._turn(target):
            return await self._change(target, act, lambda e: moved(e, act))

    async def act_on_variant(self, target: Target, variant_id: str, act: VariantAct) -> Experiment:
        """Pause, resume or retire a variant; one that is so already stays as it is."""
        action = f"{act} {variant_id}"
        async with self._turn(target):
            return await self._change(target, action, lambda e: variant_moved(e, variant_id, act))

    async def get(self, tenant: int, experiment_id: str) -> Experiment:
        """Return the newest revision, or raise `ExperimentNotFoundError`."""
        return await self.store.get(tenant, experiment_id)

    async def page(
        self, tenant: int, after: str | None, count: int
    ) -> tuple[list[Experiment], str | None]:
        """Return a tenant's experiments behind an id, oldest first, and where to go on."""
        found = await self.store.all(tenant)
        ids = [experiment.id for experiment in found]
        if after is not None and after not in ids:
            raise InvalidInputError("after: no experiment has this id")
        start = 0 if after is None else ids.index(after) + 1
        page = found[start : start + count]
        return page, (page[-1].id if start + count < len(found) else None)

    async def trail(self, tenant: int, experiment_id: str) -> list[AuditEntry]:
        """Return who changed what, oldest first; raises `ExperimentNotFoundError`."""
        await self.store.get(tenant, experiment_id)
        return await self.store.trail(tenant, experiment_id)

    def _turn(self, target: Target) -> asyncio.Lock:
        """Let the acts on one experiment wait for one another here, rather than collide in SQL."""
        return self._turns.setdefault((target.tenant, target.experiment_id), asyncio.Lock())

    async def _create(self, first: Experiment, actor: str) -> Experiment:
        now_ms = self.clock.now_ms()
        first = replace(first, salt=self.make_salt(), created_at_ms=now_ms, updated_at_ms=now_ms)
        for _ in range(CREATIONS_MAX):
            # SQL may have failed over to a state in which numbers are free that others bear.
            above = await self.tables.highest_number()
            created = await self.store.create(first, actor, above)
            with suppress(ExperimentNotFoundError):
                await self._put_in_force(created, actor, "create")
                return created
        raise StateConflictError("the experiment's number belongs to another one; try again")

    async def _change(self, target: Target, action: str, step: Step) -> Experiment:
        """Apply a step to the newest revision, again from fresh when others were faster."""
        for _ in range(ATTEMPTS_MAX):
            before = await self._standing(target)
            after = step(before)
            if is_same(before, after):
                await self._ensure_in_force(before, target.actor)
                return before
            try:
                changed = await self.store.update(self._next(after), action, target.actor)
            except RevisionConflictError:
                continue
            await self._put_in_force(changed, target.actor, action)
            return changed
        raise RevisionConflictError("others keep changing this experiment; try again")

    async def _standing(self, target: Target) -> Experiment:
        """Return the newest revision; what SQL lost of it by failing over is put back."""
        try:
            return await self.store.get(target.tenant, target.experiment_id)
        except ExperimentNotFoundError:
            held = self.tables.get(target.tenant, target.experiment_id)
            if held is None:
                raise
        # Experiments are never deleted: another one of this id would share it with the lost one.
        await self.store.adopt(held.experiment, target.actor, self.clock.now_ms())
        return held.experiment

    def _next(self, experiment: Experiment) -> Experiment:
        revision = experiment.revision + 1
        return replace(experiment, revision=revision, updated_at_ms=self.clock.now_ms())

    async def _put_in_force(self, experiment: Experiment, actor: str, reason: str) -> None:
        """Write its next version and serve it.

        Raises `ExperimentNotFoundError` once it is taken back, for it was created under the number
        of another one, which SQL lost and decisions name.
        """
        try:
            publication = await self.reallocate(experiment, reason)
        except StateConflictError as error:
            if await self.store.discard(experiment, actor, self.clock.now_ms()):
                raise ExperimentNotFoundError("its number belongs to another one") from error
            raise
        revision = publication.allocation.revision
        if revision != experiment.revision:
            # An allocation goes with the configuration it was made from, here a still newer one.
            experiment = await self.store.by_number(experiment.number, revision)
        self.tables.offer(ServingTable(publication, experiment))

    async def _ensure_in_force(self, experiment: Experiment, actor: str) -> None:
        """Finish what an earlier attempt stored but could not put in force."""
        table = self.tables.get(experiment.tenant, experiment.id)
        if table is None or table.allocation.revision < experiment.revision:
            await self._put_in_force(experiment, actor, "repeat")
