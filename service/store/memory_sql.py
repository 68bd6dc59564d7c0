"""The configuration stores in memory: the reference of the SQL ones, and for fast tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

from msgspec import structs

from service.domain.access import AdminAct
from service.domain.allocation import Allocation
from service.domain.clock import HOUR_MS, Clock
from service.domain.experiment import AuditEntry, Experiment
from service.domain.token import SigningKey
from service.errors import ExperimentNotFoundError, RevisionConflictError, StateConflictError
from service.store.memory_access import MemoryActStore
from service.store.records import Snapshot
from service.store.sql_signing_keys import first_key


class MemoryExperimentStore:
    """See `service.store.ports.ExperimentStore`."""

    def __init__(self) -> None:
        self._revisions: dict[int, list[Experiment]] = {}
        self._highest = 0
        self._trail: list[AuditEntry] = []

    async def create(self, experiment: Experiment, actor: str, above: int = 0) -> Experiment:
        """Insert revision 1, assign a `number` above the given one, write the trail."""
        if self._find(experiment.tenant, experiment.id) is not None:
            raise StateConflictError("the experiment exists already")
        self._highest = max([above, self._highest, *self._revisions]) + 1
        created = structs.replace(experiment, number=self._highest)
        self._revisions[created.number] = [deepcopy(created)]
        self._record(None, created, "create", actor)
        return created

    async def discard(self, experiment: Experiment, actor: str, at_ms: int) -> bool:
        """Take back a creation that was never changed: allocations are not known here."""
        standing = self._revisions.get(experiment.number, [])
        if [each.id for each in standing] != [experiment.id]:
            return False
        del self._revisions[experiment.number]
        self._record(experiment, experiment, "discard", actor, at_ms)
        return True

    async def update(self, experiment: Experiment, action: str, actor: str) -> Experiment:
        """Insert the given revision after its predecessor, and write the trail."""
        before = await self.get(experiment.tenant, experiment.id)
        if experiment.revision != before.revision + 1:
            raise RevisionConflictError("the experiment was changed meanwhile")
        updated = structs.replace(experiment, number=before.number)
        self._revisions[before.number].append(deepcopy(updated))
        self._record(before, updated, action, actor)
        return updated

    async def adopt(self, experiment: Experiment, actor: str, at_ms: int) -> bool:
        """Insert a configuration under its own number and revision; False when it stands there."""
        named = self._find(experiment.tenant, experiment.id)
        revisions = self._revisions.get(experiment.number, [])
        newest = revisions[-1] if revisions else None
        if newest != named or (newest is not None and newest.salt != experiment.salt):
            raise StateConflictError("the experiment's number or id belongs to another one")
        standing = next((e for e in revisions if e.revision == experiment.revision), None)
        adopted, before = experiment, newest
        if newest is not None and standing is not None:
            if standing == experiment or newest.revision > experiment.revision:
                return False
            adopted, before = structs.replace(newest, revision=newest.revision + 1), experiment
        revisions = sorted([*revisions, deepcopy(adopted)], key=lambda each: each.revision)
        self._revisions[experiment.number] = revisions
        if revisions[-1].revision == adopted.revision:
            self._record(before, adopted, "adopt", actor, at_ms)
        return True

    async def reserve_numbers(self, highest: int) -> None:
        """Give new experiments only numbers above this one."""
        self._highest = max(self._highest, highest)

    async def get(self, tenant: int, experiment_id: str) -> Experiment:
        """Return the newest revision, or raise `ExperimentNotFoundError`."""
        found = self._find(tenant, experiment_id)
        if found is None:
            raise ExperimentNotFoundError("no experiment has this id")
        return deepcopy(found)

    async def by_number(self, number: int, revision: int | None = None) -> Experiment:
        """Return a revision (None: the newest), or raise `ExperimentNotFoundError`."""
        for experiment in reversed(self._revisions.get(number, [])):
            if revision in (None, experiment.revision):
                return deepcopy(experiment)
        raise ExperimentNotFoundError("no experiment has this number")

    async def all(self, tenant: int | None = None) -> list[Experiment]:
        """Return the newest revision of every experiment, in order of number."""
        newest = [revisions[-1] for _, revisions in sorted(self._revisions.items())]
        return [deepcopy(e) for e in newest if tenant in (None, e.tenant)]

    async def trail(self, tenant: int, experiment_id: str) -> list[AuditEntry]:
        """Return an experiment's administrative acts, oldest first."""
        own = (tenant, experiment_id)
        return deepcopy([e for e in self._trail if (e.tenant, e.experiment) == own])

    def _find(self, tenant: int, experiment_id: str) -> Experiment | None:
        newest = (revisions[-1] for revisions in self._revisions.values())
        own = (tenant, experiment_id)
        return next((e for e in newest if (e.tenant, e.id) == own), None)

    def _record(
        self,
        before: Experiment | None,
        after: Experiment,
        action: str,
        actor: str,
        at_ms: int | None = None,
    ) -> None:
        if at_ms is None:
            at_ms = after.created_at_ms if before is None else after.updated_at_ms
        entry = AuditEntry(after.tenant, after.id, at_ms, actor, action, before, after)
        self._trail.append(deepcopy(entry))  # Payloads are dictionaries, which callers may keep.


class MemoryAllocationStore:
    """See `service.store.ports.AllocationStore`."""

    def __init__(self) -> None:
        self._records: dict[tuple[int, int], Allocation] = {}

    async def insert(self, allocation: Allocation) -> bool:
        """Insert a version; False when it exists already: the loser starts again."""
        key = (allocation.experiment, allocation.version)
        is_new = key not in self._records
        self._records.setdefault(key, allocation)
        return is_new

    async def head(self, experiment: int) -> Allocation | None:
        """Return the highest version, or None."""
        version = (await self.heads()).get(experiment)
        return None if version is None else self._records[experiment, version]

    async def heads(self) -> dict[int, int]:
        """Return the highest version of every experiment."""
        return dict(sorted(self._records))  # The highest version comes last and stays.

    async def get(self, experiment: int, version: int) -> Allocation | None:
        """Return one version, or None."""
        return self._records.get((experiment, version))


class MemorySnapshotStore:
    """See `service.store.ports.SnapshotStore`."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int, int], Snapshot] = {}

    async def add(self, snapshots: Sequence[Snapshot]) -> None:
        """Insert rows; one that exists (experiment, variant, time) is left alone."""
        for row in snapshots:
            self._rows.setdefault((row.experiment, row.variant, row.at_ms), row)

    async def rows(self, experiment: int, since_ms: int) -> list[Snapshot]:
        """Return an experiment's snapshots from a time on, in order of (time, variant)."""
        own = [s for s in self._rows.values() if s.experiment == experiment]
        recent = [snapshot for snapshot in own if snapshot.at_ms >= since_ms]
        return sorted(recent, key=lambda snapshot: (snapshot.at_ms, snapshot.variant))

    async def thin(self, before_ms: int) -> int:
        """Keep the first of every hour of those older than a time; return how many went."""
        kept_hours: set[tuple[int, int, int]] = set()
        gone = 0
        for experiment, variant, at_ms in sorted(self._rows):
            hour = (experiment, variant, at_ms // HOUR_MS)
            if at_ms < before_ms and hour in kept_hours:
                del self._rows[experiment, variant, at_ms]
                gone += 1
            kept_hours.add(hour)
        return gone


class MemoryLeaseStore:
    """See `service.store.ports.LeaseStore`; the clock given stands for the database's."""

    def __init__(self, clock: Clock) -> None:
        self._now_ms: Callable[[], int] = clock.now_ms
        self._leases: dict[str, tuple[str, int]] = {}

    async def acquire(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease; False while another holder's has not expired."""
        now_ms = self._now_ms()
        owner, expires_at_ms = self._leases.get(name, (holder, 0))
        if owner != holder and expires_at_ms > now_ms:
            return False
        self._leases[name] = (holder, now_ms + round(seconds * 1000))
        return True

    async def release(self, name: str, holder: str) -> None:
        """Give a lease back if it is ours."""
        if self._leases.get(name, ("", 0))[0] == holder:
            del self._leases[name]


class MemorySigningKeyStore:
    """See `service.store.ports.SigningKeyStore`; the clock given stands for the database's."""

    def __init__(self, clock: Clock, acts: MemoryActStore | None = None) -> None:
        self._clock = clock
        self._keys: dict[int, SigningKey] = {}
        self._acts = acts

    async def keys(self) -> list[SigningKey]:
        """Return all keys, oldest first; makes the first one when there is none."""
        if not self._keys:
            await self.add(first_key())
        return sorted(self._keys.values(), key=lambda key: (key.active_from_ms, key.id))

    async def now_ms(self) -> int:
        """Return the time by the clock given."""
        return self._clock.now_ms()

    async def add(self, key: SigningKey, act: AdminAct | None = None) -> bool:
        """Insert a key, with the act that made it; False when its id is taken."""
        is_new = key.id not in self._keys
        self._keys.setdefault(key.id, key)
        if is_new and act is not None and self._acts is not None:
            self._acts.append(act)
        return is_new
