"""Erasures and retention in memory, over a ledger in memory: for tests, and to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from service.domain.access import AdminAct
from service.domain.decision import Decision
from service.domain.erasure import Erasure, wiped
from service.domain.reward import Reward
from service.errors import ErasureNotFoundError
from service.store.memory_access import MemoryActStore
from service.store.memory_ledger import MemoryLedger
from service.store.privacy_ports import Expired


class MemoryErasureStore:
    """See `service.store.privacy_ports.ErasureStore`."""

    def __init__(self, ledger: MemoryLedger, acts: MemoryActStore) -> None:
        self._ledger = ledger
        self._acts = acts
        self._erasures: dict[str, Erasure] = {}
        self._keys: dict[str, set[bytes]] = {}

    async def request(self, erasure: Erasure, act: AdminAct) -> None:
        """Insert a request and its act."""
        self._erasures[erasure.id] = erasure
        self._acts.append(act)

    async def get(self, tenant: int, erasure_id: str) -> Erasure:
        """Return a tenant's request, or raise `ErasureNotFoundError`."""
        found = self._erasures.get(erasure_id)
        if found is None or found.tenant != tenant:
            raise ErasureNotFoundError("no erasure has this id")
        return found

    async def pending(self) -> list[Erasure]:
        """Return the requests of all tenants that are not done, oldest first."""
        found = [each for each in self._erasures.values() if each.done_at_ms is None]
        return sorted(found, key=lambda each: (each.requested_at_ms, each.id))

    async def erase(self, erasures: Sequence[Erasure]) -> int:
        """Wipe the decisions that requests concern."""
        return sum(self._erase(erasure) for erasure in erasures)

    def _erase(self, erasure: Erasure) -> int:
        keys: list[bytes] = []

        def change(decision: Decision) -> Decision:
            if not erasure.concerns(decision.tenant, decision.unit, decision.decided_at_ms):
                return decision
            keys.append(decision.key)
            return wiped(decision)

        self._ledger.rewrite_decisions(change)
        self._keys.setdefault(erasure.id, set()).update(keys)
        self._change(erasure.id, rows=self._erasures[erasure.id].rows + len(keys))
        return len(keys)

    async def wait_for(self, erasure_id: str, segments: Sequence[str]) -> None:
        """Note the outbox files that must be gone before a request can be done."""
        self._change(erasure_id, segments=tuple(sorted(segments)))

    async def committed_segments(self) -> set[str]:
        """Return the outbox files that the ledger knows."""
        return self._ledger.committed_segments()

    async def forget(self, erasure: Erasure) -> None:
        """Wipe ids of events that tell the unit, then the unit in the request and its keys."""
        keys = self._keys.pop(erasure.id, set())

        def is_meant(reward: Reward) -> bool:
            return reward.key in keys and reward.received_at_ms <= erasure.until_ms

        self._ledger.rewrite_rewards(_without(dict.fromkeys(keys, erasure.unit), is_meant))
        self._change(erasure.id, unit="", segments=())

    async def scrub(self) -> bool:
        """Memory keeps nothing of what was wiped."""
        return True

    async def finish(self, erasure_id: str, at_ms: int) -> None:
        """Note that a request is done."""
        self._change(erasure_id, done_at_ms=at_ms)

    def _change(self, erasure_id: str, **fields: object) -> None:
        self._erasures[erasure_id] = replace(self._erasures[erasure_id], **fields)


class MemoryRetentionStore:
    """See `service.store.privacy_ports.RetentionStore`."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self._until_ms = 0

    async def watermark_ms(self) -> int:
        """Return up to when decisions were wiped; 0 at first."""
        return self._until_ms

    async def expire(self, since_ms: int, before_ms: int, count: int) -> Expired:
        """Wipe unit and context of decisions made in a time, oldest first; move the watermark."""
        old: list[Decision] = []

        def look(decision: Decision) -> Decision:
            if since_ms <= decision.decided_at_ms < before_ms and decision.unit:
                old.append(decision)
            return decision

        self._ledger.rewrite_decisions(look)
        old.sort(key=lambda decision: (decision.decided_at_ms, decision.key))
        chosen = {decision.key: decision.unit for decision in old[:count]}
        self._ledger.rewrite_decisions(lambda d: wiped(d) if d in old[:count] else d)
        self._ledger.rewrite_rewards(_without(chosen, lambda r: r.received_at_ms < before_ms))
        until_ms = before_ms if len(old) < count else old[count - 1].decided_at_ms
        self._until_ms = max(self._until_ms, until_ms)
        return Expired(min(len(old), count), until_ms)


def _without(
    units: dict[bytes, str], is_meant: Callable[[Reward], bool]
) -> Callable[[Reward], Reward]:
    """Return what gives rewards whose event id holds the unit of their key another one."""

    def change(reward: Reward) -> Reward:
        unit = units.get(reward.key)
        if not unit or unit not in reward.event_id or not is_meant(reward):
            return reward
        return replace(reward, event_id=f"~{reward.received_at_ms}-{id(reward)}")

    return change


class MemoryQuarantine:
    """See `service.store.privacy_ports.Quarantine`; nothing is ever put in it."""

    def erase(self, erasures: Sequence[Erasure]) -> int:
        """Change no file."""
        del erasures
        return 0

    def expire(self, before_ms: int) -> int:
        """Remove no file."""
        del before_ms
        return 0
