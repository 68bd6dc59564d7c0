"""Operators: experiments and variants are paused, resumed, stopped, retired and redefined."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from service.domain.experiment import Experiment
from service.errors import LedgerUnavailableError, ServiceError, StateConflictError
from service.experiments import Act, Target, VariantAct
from tests.stateful.lifecycle_model import Configuration
from tests.stateful.machine import EXPERIMENTS, PROCESSES, Machine
from tests.stateful.world import UP, Process

FUSES = st.sampled_from([None, None, None, 0, 1, 2, 3, 4, 5])
ACTS = st.sampled_from(["pause", "resume", "resume", "stop"])
VARIANT_ACTS = st.sampled_from(["pause", "resume", "retire"])
NAMES = st.sampled_from(["a", "b", "c", "d", "ghost"])
CHANGES = st.sampled_from(["nothing", "add", "control", "window", "share", "kind"])
Work = Callable[[Process, Target], Coroutine[Any, Any, Experiment]]


class Operating(Machine):
    """Operators act; SQL may go down after so many calls of an act."""

    @rule(p=PROCESSES, e=EXPERIMENTS, act=ACTS, fuse=FUSES)
    def act(self, p: int, e: int, act: str, fuse: int | None) -> None:
        """Pause, resume or stop an experiment."""
        expected = self.configurations[e].acted(act)
        self.operate(p, e, expected, lambda on, t: on.experiments.act(t, Act(act)), fuse)

    @rule(p=PROCESSES, e=EXPERIMENTS, act=VARIANT_ACTS, name=NAMES, fuse=FUSES)
    def act_on_variant(self, p: int, e: int, act: str, name: str, fuse: int | None) -> None:
        """Pause, resume or retire a variant."""
        expected = self.configurations[e].variant_acted(act, name)

        def work(on: Process, target: Target) -> Coroutine[Any, Any, Experiment]:
            return on.experiments.act_on_variant(target, name, VariantAct(act))

        self.operate(p, e, expected, work, fuse)

    @rule(p=PROCESSES, e=EXPERIMENTS, change=CHANGES, fuse=FUSES)
    def redefine(self, p: int, e: int, change: str, fuse: int | None) -> None:
        """Put a changed definition, or the same again."""
        before = self.configurations[e]
        after = before.redefined(change)
        expected: Configuration | type[ServiceError] = after
        if before.state == "stopped" and after != before:
            expected = StateConflictError

        async def work(on: Process, target: Target) -> Experiment:
            experiment, is_new = await on.experiments.put(target, after.definition())
            assert not is_new
            return experiment

        self.operate(p, e, expected, work, fuse)

    def operate(
        self,
        p: int,
        e: int,
        expected: Configuration | type[ServiceError],
        work: Work,
        fuse: int | None,
    ) -> None:
        """Do it, and check what it led to, here and in SQL."""
        before, process, sql = self.configurations[e], self.processes[p], self.servers.sql
        target = Target(before.tenant, before.id, "operator")
        mode = sql.mode
        sql.fuse = fuse
        try:
            done: Experiment | ServiceError = self.run(work(process, target))
        except ServiceError as error:
            done = error
        sql.mode, sql.fuse = mode, None
        stored = self.run(self.servers.experiments.get(before.tenant, before.id))
        if isinstance(done, LedgerUnavailableError):
            assert fuse is not None or mode != UP
            # It may stand in SQL, and the same act again will put it in force.
            if not isinstance(expected, type) and expected.is_of(stored):
                self.configurations[e] = expected
        elif isinstance(expected, type):
            assert type(done) is expected
        else:
            self.configurations[e] = expected
            assert isinstance(done, Experiment), done
            assert expected.is_of(done)
            table = process.tables.get(before.tenant, before.id)
            assert table is not None
            assert table.allocation.revision >= done.revision
        assert self.configurations[e].is_of(stored)
