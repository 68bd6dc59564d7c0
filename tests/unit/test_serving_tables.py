"""API processes hold the newest allocation they can get, wherever it stands."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from service.allocations.health import Health
from service.domain.allocation import EffectiveEvidence, Publication, allocation_of
from service.domain.experiment import PolicySpec
from service.domain.serving import ServingTable
from service.errors import ExperimentNotFoundError
from service.store.memory_redis import MemoryOutbox
from service.store.memory_sql import MemoryExperimentStore
from tests.worker_rig import Rig, an_experiment


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_new_process_loads_every_allocation(rig: Rig) -> None:
    for name in ("spring", "summer"):
        await rig.allocator().reallocate(await rig.create(an_experiment(name)), "create")
    tables = rig.tables()
    was_ready = tables.is_ready

    await tables.load()

    assert (was_ready, tables.is_ready) == (False, True)
    assert [table.experiment.id for table in tables.all()] == ["spring", "summer"]
    assert tables.get(1, "summer") is tables.by_number(2)
    assert tables.get(2, "summer") is None


async def test_a_process_starts_while_redis_is_down(rig: Rig) -> None:
    experiment = await rig.create()
    await rig.allocator().reallocate(experiment, "create")
    rig.published.is_down = True
    tables = rig.tables()

    await tables.load()
    await tables.poll()

    assert tables.is_ready
    table = tables.get(1, experiment.id)
    assert table is not None
    assert table.allocation.version == 1


async def test_a_poll_takes_newer_versions_only(rig: Rig) -> None:
    experiment = await rig.create()
    allocator, tables = rig.allocator(), rig.tables()
    first = await allocator.reallocate(experiment, "create")
    await tables.load()
    await allocator.reallocate(experiment, "again")

    await tables.poll()
    held = tables.get(1, experiment.id)
    assert held is not None
    assert held.allocation.version == 2

    tables.offer(type(held)(first, experiment))
    assert tables.get(1, experiment.id) is held


async def test_newer_evidence_of_the_same_version_is_shown(rig: Rig) -> None:
    experiment = await rig.create(an_experiment(policy=PolicySpec("uniform")))
    allocator, tables = rig.allocator(), rig.tables()
    await allocator.reallocate(experiment, "create")
    await tables.load()
    await rig.send(experiment, 0, pulls=1, rewards=0)
    rig.clock.at_ms += 1_000
    await allocator.refresh(experiment.number)

    await tables.poll()

    held = tables.get(1, experiment.id)
    assert held is not None
    assert (held.allocation.version, held.publication.evidence.pulls[0]) == (1, 1.0)


async def test_newer_evidence_is_shown_when_the_publishers_clock_stepped_back(rig: Rig) -> None:
    experiment = await rig.create(an_experiment(policy=PolicySpec("uniform")))
    allocator, tables = rig.allocator(), rig.tables()
    first = await allocator.reallocate(experiment, "create")
    await tables.load()
    await rig.send(experiment, 0, pulls=1, rewards=0)
    rig.clock.at_ms -= 3_600_000
    await allocator.refresh(experiment.number)

    await tables.poll()
    tables.offer(ServingTable(first, experiment))  # As from a worker that was frozen.

    held = tables.get(1, experiment.id)
    assert held is not None
    assert held.publication.evidence.pulls[0] == 1.0


async def test_while_redis_is_gone_newer_versions_come_from_sql_once_a_second(rig: Rig) -> None:
    experiment = await rig.create()
    allocator, tables = rig.allocator(), rig.tables()
    await allocator.reallocate(experiment, "create")
    await tables.load()
    rig.published.is_down = True
    await tables.poll()
    await allocator.reallocate(experiment, "again")
    await tables.poll()
    assert tables.all()[0].allocation.version == 1

    rig.clock.at_ms += 1_000
    await tables.poll()

    assert tables.all()[0].allocation.version == 2


async def test_a_turn_that_looked_nowhere_does_not_say_that_it_has_looked(rig: Rig) -> None:
    tables, polled = rig.tables(), []
    rig.published.is_down = True

    for pause_ms in (0, 400, 600):
        rig.clock.at_ms += pause_ms
        await tables.poll()
        name = "promobandit_tables_polled_timestamp_seconds"
        polled.append(rig.metrics.registry.get_sample_value(name))

    now = rig.clock.now_ms() / 1_000
    assert polled == [now - 1.0, now - 1.0, now]


async def test_a_redis_that_lost_its_memory_changes_nothing_that_is_held(rig: Rig) -> None:
    experiment = await rig.create()
    tables = rig.tables()
    await rig.allocator().reallocate(experiment, "create")
    await tables.load()
    rig.published.lose()

    await tables.poll()

    assert tables.get(1, experiment.id) is not None


async def test_an_unknown_experiment_is_looked_up_in_redis_then_in_sql(rig: Rig) -> None:
    tables = rig.tables()
    await tables.load()
    spring, summer = await rig.create(), await rig.create(an_experiment("summer"))
    await rig.allocator().reallocate(spring, "create")
    rig.published.is_down = True
    await rig.allocator().reallocate(summer, "create")

    assert (await tables.find(1, "summer")).experiment.id == "summer"
    rig.published.is_down = False
    assert (await tables.find(1, "spring")).experiment.id == "spring"
    assert (await tables.find_number(1)).experiment.id == "spring"


async def test_what_nobody_knows_is_not_found(rig: Rig) -> None:
    tables = rig.tables()

    with pytest.raises(ExperimentNotFoundError):
        await tables.find(1, "autumn")
    with pytest.raises(ExperimentNotFoundError):
        await tables.find_number(5)


async def test_an_experiment_that_was_never_allocated_is_not_found(rig: Rig) -> None:
    await rig.create()

    with pytest.raises(ExperimentNotFoundError):
        await rig.tables().find(1, "spring")


async def test_the_newer_table_knows_a_variant_that_the_older_does_not(rig: Rig) -> None:
    experiment = await rig.create()
    allocator, tables = rig.allocator(), rig.tables()
    await allocator.reallocate(experiment, "create")
    await tables.load()
    held = tables.all()[0]
    more = replace(
        experiment,
        revision=2,
        variants=(*experiment.variants, replace(experiment.variants[1], id="e")),
    )
    await rig.experiments.update(more, "update", "test")
    await allocator.reallocate(more, "update")

    assert (await tables.newer(held)).variant_ids[-1] == "e"


async def test_a_process_is_ready_when_it_can_answer_and_record(rig: Rig) -> None:
    tables, outbox = rig.tables(), MemoryOutbox()
    health = Health(tables, outbox, rig.ledger, lambda: True, lambda: False)
    assert await health.reasons() == ["the allocations are not loaded yet"]

    await tables.load()
    assert await health.reasons() == []

    outbox.is_full = True
    assert await health.reasons() == []  # The ledger takes the answers.


async def test_a_redis_that_is_behind_sql_does_not_hold_a_new_process_back(rig: Rig) -> None:
    experiment = await rig.create()
    allocator, tables = rig.allocator(), rig.tables()
    await allocator.reallocate(experiment, "create")
    rig.published.is_down = True
    await allocator.reallocate(experiment, "again")
    rig.published.is_down = False

    await tables.load()

    assert tables.all()[0].allocation.version == 2


async def test_what_was_never_announced_is_found_in_sql_within_half_a_minute(rig: Rig) -> None:
    experiment = await rig.create()
    allocator, tables = rig.allocator(), rig.tables()
    await allocator.reallocate(experiment, "create")
    await tables.load()
    await tables.poll()
    rig.published.is_down = True
    await allocator.reallocate(experiment, "again")
    rig.published.is_down = False
    await tables.poll()
    assert tables.all()[0].allocation.version == 1

    rig.clock.at_ms += 30_000
    await tables.poll()

    assert tables.all()[0].allocation.version == 2


async def test_a_publication_of_no_known_experiment_does_not_stop_the_others(rig: Rig) -> None:
    tables = rig.tables()
    await tables.load()
    own = await rig.create()
    published = await rig.allocator().reallocate(own, "create")
    rig.published.lose()
    foreign = replace(published.allocation, experiment=99, revision=9)
    await rig.published.publish(replace(published, allocation=foreign), replace(own, number=99))
    await rig.published.publish(published, own)

    await tables.poll()

    assert [table.experiment.id for table in tables.all()] == [own.id]


async def test_nobody_is_served_another_experiment_under_a_number_given_twice(rig: Rig) -> None:
    mine = await rig.create(an_experiment("mine"))
    await rig.allocator().reallocate(mine, "create")
    tables = rig.tables()
    await tables.load()
    rig.experiments.__dict__.update(MemoryExperimentStore().__dict__)  # SQL went back.
    theirs = await rig.create(replace(an_experiment("theirs"), tenant=2))
    assert theirs.number == mine.number

    with pytest.raises(ExperimentNotFoundError):
        await tables.find(2, "theirs")
    weights = (2**30,) * 4
    later = Publication(allocation_of(theirs, 9, weights, 0, ""), EffectiveEvidence(0, (), ()), 0)
    tables.offer(ServingTable(later, theirs))

    assert tables.get(2, "theirs") is None
    held = tables.by_number(mine.number)
    assert held is not None
    assert (held.experiment, held) == (mine, tables.get(1, "mine"))


async def test_the_highest_number_is_of_what_is_held_or_published(rig: Rig) -> None:
    tables = rig.tables()
    nothing = await tables.highest_number()
    await rig.allocator().reallocate(await rig.create(), "create")
    published = await tables.highest_number()
    await tables.load()
    rig.published.is_down = True

    assert (nothing, published, await tables.highest_number()) == (0, 1, 1)
