"""After SQL failed over to an older state, no version and no number gets a second meaning."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from msgspec.structs import replace

from service.allocations.allocator import VERSIONS_SKIPPED, Allocator
from service.allocations.schedule import HEADS_CHECK_MS, AllocationSchedule
from service.allocations.traces import Traces
from service.domain.experiment import Experiment, PolicySpec
from service.errors import StateConflictError
from tests.worker_rig import Rig, an_experiment


class Failover:
    """SQL stores whose state can be kept and put in place again, beside a Redis that stays."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.traces = Traces()

    def state(self) -> list[dict[str, Any]]:
        """Return a copy of everything in SQL."""
        return [deepcopy(store.__dict__) for store in self._sql()]

    def go_back(self, state: list[dict[str, Any]]) -> None:
        """Put an older state in place."""
        for store, older in zip(self._sql(), state, strict=True):
            store.__dict__.update(deepcopy(older))

    def _sql(self) -> tuple[object, ...]:
        return self.rig.ledger, self.rig.experiments, self.rig.allocations

    def schedule(self) -> AllocationSchedule:
        """Make a worker's schedule that has no memory."""
        rig = self.rig
        allocator = Allocator(rig.stores, rig.clock, rig.metrics, self.traces.version)
        return AllocationSchedule(allocator, rig.stores, rig.clock, rig.metrics, self.traces)

    async def settle(self, schedule: AllocationSchedule) -> None:
        """Let the schedule do what is due in half a minute."""
        for _ in range(6):
            await schedule.tick()
            self.rig.clock.at_ms += HEADS_CHECK_MS

    async def published(self, number: int) -> int:
        """Return the version in Redis."""
        publication = await self.rig.published.fetch(number)
        return 0 if publication is None else publication.allocation.version

    async def write(
        self, schedule: AllocationSchedule, experiment: Experiment, variant: int = 1
    ) -> int:
        """Have a version written that prefers a variant, and return it."""
        await self.rig.send(experiment, variant, pulls=50, rewards=40)
        await self.settle(schedule)
        return await self.rig.head_version(experiment)

    async def actions(self, name: str = "spring") -> list[str]:
        """Return what the trail says was done."""
        return [f"{e.actor}: {e.action}" for e in await self.rig.experiments.trail(1, name)]


@pytest.fixture
def failover() -> Failover:
    return Failover()


@pytest.mark.parametrize("is_new_worker", [True, False])
async def test_a_lost_version_is_put_back_before_the_next_one_is_written(
    failover: Failover, is_new_worker: bool
) -> None:
    experiment = await failover.rig.create()
    schedule = failover.schedule()
    await failover.settle(schedule)
    older = failover.state()
    version = await failover.write(schedule, experiment)
    lost = await failover.rig.head(experiment)
    assert version > 1

    failover.go_back(older)
    now_ms = failover.rig.clock.now_ms()
    await failover.rig.ledger.renew_revisions(now_ms, [experiment.number])  # As the drain does.
    next_version = await failover.write(
        failover.schedule() if is_new_worker else schedule, experiment, variant=2
    )

    assert next_version > version
    assert await failover.rig.allocations.get(experiment.number, version) == lost
    assert await failover.published(experiment.number) == next_version


@pytest.mark.parametrize("losses", [1, 3])
async def test_evidence_is_told_again_after_losses_that_nobody_noticed(
    failover: Failover, losses: int
) -> None:
    rig = failover.rig
    experiment = await rig.create(an_experiment(policy=PolicySpec("uniform")))
    schedule = failover.schedule()
    await failover.settle(schedule)
    older = failover.state()
    for _ in range(losses):
        await rig.send(experiment, 1, pulls=50, rewards=40)
        await failover.settle(schedule)
        failover.go_back(older)
        await rig.send(experiment, 0, pulls=3, rewards=1)
        schedule = failover.schedule()  # A new worker: nobody remembers.
        await failover.settle(schedule)

    told = await rig.published.fetch(experiment.number)
    assert told is not None
    assert told.evidence.pulls == (3.0, 0.0, 0.0, 0.0)
    assert told.evidence.revision == (await rig.ledger.evidence(experiment.number)).revision


async def test_a_worker_that_was_frozen_does_not_tell_old_evidence_over_new(
    failover: Failover,
) -> None:
    rig = failover.rig
    experiment = await rig.create(an_experiment(policy=PolicySpec("uniform")))
    allocator = rig.allocator()
    first = await allocator.reallocate(experiment, "create")
    await rig.send(experiment, 1, pulls=5, rewards=1)
    await allocator.refresh(experiment.number)
    revisions = await rig.ledger.evidence_revisions()

    assert not await rig.allocator().publisher.publish(first, experiment)

    told = await rig.published.fetch(experiment.number)
    assert told is not None
    assert told.evidence.pulls[1] == 5.0
    assert await rig.ledger.evidence_revisions() == revisions


async def test_an_act_right_after_the_loss_puts_back_what_was_lost_first(
    failover: Failover,
) -> None:
    experiment = await failover.rig.create()
    schedule = failover.schedule()
    await failover.settle(schedule)
    older = failover.state()
    version = await failover.write(schedule, experiment)
    lost = await failover.rig.head(experiment)

    failover.go_back(older)
    publication = await failover.rig.allocator().reallocate(experiment, "update")

    assert publication.allocation.version == version + 1
    assert await failover.rig.allocations.get(experiment.number, version) == lost


async def test_a_lost_experiment_comes_back_whole_and_is_allocated(failover: Failover) -> None:
    older = failover.state()
    experiment = await failover.rig.create()
    schedule = failover.schedule()
    version = await failover.write(schedule, experiment)

    failover.go_back(older)
    await failover.settle(failover.schedule())

    assert await failover.rig.experiments.get(1, "spring") == experiment
    assert await failover.rig.head_version(experiment) >= version
    assert await failover.published(experiment.number) == await failover.rig.head_version(
        experiment
    )
    assert await failover.actions() == ["worker: adopt"]


async def test_a_lost_change_comes_back_and_stays_in_force(failover: Failover) -> None:
    experiment = await failover.rig.create()
    schedule = failover.schedule()
    await failover.settle(schedule)
    older = failover.state()
    changed = await failover.rig.experiments.update(
        replace(experiment, revision=2, exploration_floor=0.2), "update", "ann"
    )
    await failover.rig.allocator().reallocate(changed, "update")

    failover.go_back(older)
    await failover.settle(schedule)

    assert await failover.rig.experiments.get(1, "spring") == changed
    assert (await failover.rig.head(experiment)).revision == 2
    assert await failover.actions() == ["test: create", "worker: adopt"]


async def test_a_change_made_since_prevails_over_a_lost_one(failover: Failover) -> None:
    experiment = await failover.rig.create()
    await failover.settle(failover.schedule())
    older = failover.state()
    gone = replace(experiment, revision=2, exploration_floor=0.2)
    await failover.rig.allocator().reallocate(
        await failover.rig.experiments.update(gone, "update", "ann"), "update"
    )
    lost = await failover.rig.head(experiment)

    failover.go_back(older)
    since = replace(experiment, revision=2, exploration_floor=0.1)
    publication = await failover.rig.allocator().reallocate(
        await failover.rig.experiments.update(since, "update", "bob"), "update"
    )

    newest = await failover.rig.experiments.get(1, "spring")
    assert (newest.exploration_floor, newest.revision) == (0.1, 3)
    assert publication.allocation.revision == 3
    assert publication.allocation.version > lost.version
    assert await failover.rig.allocations.get(experiment.number, lost.version) == lost


@pytest.mark.parametrize("has_memory", [True, False])
async def test_when_redis_was_lost_too_versions_go_on_above_what_decisions_name(
    failover: Failover, has_memory: bool
) -> None:
    experiment = await failover.rig.create()
    schedule = failover.schedule()
    await failover.settle(schedule)
    older = failover.state()
    version = await failover.write(schedule, experiment)

    failover.go_back(older)
    failover.rig.published.lose()
    named = replace(failover.rig.decision(experiment, 0), version=version)
    if has_memory:  # The drain met it.
        failover.traces.note([named])
    else:
        await failover.rig.ledger.append([named], [])
    failover.traces.losses += 1
    await failover.settle(failover.schedule())

    head = await failover.rig.head_version(experiment)
    assert head == version + VERSIONS_SKIPPED
    assert await failover.published(experiment.number) == head


@pytest.mark.parametrize("is_noticed_here", [True, False])
async def test_versions_that_only_other_machines_outboxes_name_are_skipped_too(
    failover: Failover, is_noticed_here: bool
) -> None:
    experiment = await failover.rig.create()
    schedule = failover.schedule()
    await failover.settle(schedule)
    older = failover.state()
    version = await failover.write(schedule, experiment)

    failover.go_back(older)
    failover.rig.published.lose()
    if is_noticed_here:
        failover.traces.losses += 1
        await failover.rig.ledger.renew_revisions(failover.rig.clock.now_ms(), [1])
        schedule = failover.schedule()
    else:  # The other machine's drain renews the revisions.
        await failover.rig.ledger.renew_revisions(failover.rig.clock.now_ms(), [1])
    await failover.settle(schedule)

    head = await failover.rig.head_version(experiment)
    assert version < head < version + 2 * VERSIONS_SKIPPED
    assert await failover.rig.allocations.get(experiment.number, version) is None
    assert await failover.published(experiment.number) == head


async def test_after_a_loss_no_new_experiment_gets_a_number_that_decisions_name(
    failover: Failover,
) -> None:
    known = await failover.rig.create()
    failover.traces.note([replace(failover.rig.decision(known, 0), experiment=9)])
    failover.traces.losses += 1
    await failover.settle(failover.schedule())

    assert (await failover.rig.create(an_experiment("new"))).number > 9


async def test_another_experiment_in_the_place_of_the_lost_one_is_left_alone(
    failover: Failover,
) -> None:
    older = failover.state()
    lost = await failover.rig.create()
    await failover.settle(failover.schedule())

    failover.go_back(older)
    other = await failover.rig.create(replace(an_experiment("other"), salt=b"pepper" * 3))
    await failover.settle(failover.schedule())

    assert other.number == lost.number
    assert await failover.rig.head_version(other) == 0
    assert await failover.rig.experiments.all() == [other]
    with pytest.raises(StateConflictError):
        await failover.rig.experiments.adopt(lost, "worker", 0)
