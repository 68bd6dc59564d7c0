"""The idempotency memory in Redis: one table of hashes for all experiments."""

from __future__ import annotations

from collections.abc import Sequence
from struct import unpack
from typing import NamedTuple

from service.domain.clock import DAY_MS, HOUR_MS, SECOND_MS, Clock
from service.domain.decision import REPLAY_BYTES, Decision, replay_of
from service.errors import RedisUnavailableError
from service.store.records import UNREACHED
from service.store.redis_connection import RedisCaller, Reply, Script, ScriptCall, script

BATCH_MAX = 500
GENERATION_MS = DAY_MS
CLOCKS_APART_MS = HOUR_MS  # So far may the clocks of two processes disagree.
# A bucket is looked up to the end of the generation after its own, by the clock furthest behind.
_LIFE_MS = 2 * GENERATION_MS + CLOCKS_APART_MS
_BUCKETS = 1 << 14
_BUCKETS_A_TAG = 1 << 10  # 16 hash tags, the upper 4 bits of the key.
TAGS = tuple(b"%x" % tag for tag in range(_BUCKETS // _BUCKETS_A_TAG))
_TAG_SHIFT = 4  # From the key's first byte to its tag.
_UNUSED_BITS = 2  # From the key's first 16 bits to its bucket.
_GENERATIONS_HELD = 4  # This one, those around it, and the one before them while restoring.
_FIELD = slice(2, 10)
_ENTRY_BYTES = 8 + REPLAY_BYTES


class _Call(NamedTuple):
    """What the parts of one call have in common."""

    lua: Script
    generation: int
    others: tuple[int, ...]  # Generations in which an answer may stand as well.
    now_ms: int
    deadline_ms: float | None

    @property
    def seconds(self) -> int:
        """How long its buckets live."""
        return (self.generation * GENERATION_MS + _LIFE_MS - self.now_ms) // SECOND_MS


class RedisReplays:
    """Remembers 20 bytes of each decision for a day and what was left of the day before.

    Buckets of some dozens of fields stay in Redis's compact encoding: 38 bytes a decision.
    With `by_tag`, which a cluster needs, a batch becomes one script call for each hash tag, and
    what cannot be reached of it does not spoil the rest.
    """

    def __init__(self, redis: RedisCaller, clock: Clock, *, by_tag: bool = False) -> None:
        self._redis = redis
        self._clock = clock
        self._by_tag = by_tag
        self._names: dict[int, list[bytes]] = {}
        self._remember = script("remember")
        self._restore = script("restore")

    async def remember(
        self,
        keys: Sequence[bytes],
        values: Sequence[bytes],
        now_ms: int,
        deadline_ms: float | None = None,
    ) -> list[bytes | None]:
        """Remember each answer unless its key has one; return the earlier answers."""
        generation = now_ms // GENERATION_MS
        others: tuple[int, ...] = (generation - 1,)
        if (now_ms + CLOCKS_APART_MS) // GENERATION_MS > generation:
            others += (generation + 1,)  # For a process that is ahead the next one has begun.
        call = _Call(self._remember, generation, others, now_ms, deadline_ms)
        if not self._by_tag:
            return await self._run(call, keys, values) if keys else []
        return await self._each_tag(call, keys, values)

    async def restore(self, decisions: Sequence[Decision]) -> None:
        """Write what the ledger says of these decisions, over whatever is remembered."""
        now_ms = self._clock.now_ms()
        # Nobody looks an older one up any more, not even where the clock is behind.
        oldest = (now_ms - CLOCKS_APART_MS) // GENERATION_MS - 1
        by_generation: dict[int, list[Decision]] = {}
        for decision in decisions:
            generation = decision.decided_at_ms // GENERATION_MS
            if generation >= oldest:
                by_generation.setdefault(generation, []).append(decision)
        for generation, each in by_generation.items():
            for start in range(0, len(each), BATCH_MAX):
                batch = each[start : start + BATCH_MAX]
                keys, values = [d.key for d in batch], [replay_of(d) for d in batch]
                others = (generation - 1, generation + 1)
                call = _Call(self._restore, generation, others, now_ms, None)
                await self._write(call, keys, values)

    async def _write(self, call: _Call, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        if not self._by_tag:
            await self._run(call, keys, values)
            return
        for told in await self._run_each(call, _by_tag(keys), keys, values):
            if isinstance(told, BaseException):
                raise told

    async def _each_tag(
        self, call: _Call, keys: Sequence[bytes], values: Sequence[bytes]
    ) -> list[bytes | None]:
        """Ask for the entries of each hash tag; raise only when none of them can be reached."""
        groups = _by_tag(keys)
        if len(groups) <= 1:
            return await self._run(call, keys, values) if keys else []
        found = await self._run_each(call, groups, keys, values)
        earlier: list[bytes | None] = [UNREACHED] * len(keys)
        unreached: list[BaseException] = []
        for at, told in zip(groups, found, strict=True):
            if isinstance(told, BaseException):
                unreached.append(told)
                continue
            for i, answer in zip(at, told, strict=True):
                earlier[i] = answer
        for error in unreached:
            if len(unreached) == len(groups) or not isinstance(error, RedisUnavailableError):
                raise error
        return earlier

    async def _run_each(
        self,
        call: _Call,
        groups: list[list[int]],
        keys: Sequence[bytes],
        values: Sequence[bytes],
    ) -> list[Reply]:
        calls = [
            self._script_call(call, [keys[i] for i in at], [values[i] for i in at]) for at in groups
        ]
        return await self._redis.run_each(call.lua, calls, call.deadline_ms)

    async def _run(
        self, call: _Call, keys: Sequence[bytes], values: Sequence[bytes]
    ) -> list[bytes | None]:
        buckets, given = self._script_call(call, keys, values)
        earlier: list[bytes | None] = await self._redis.run(
            call.lua, buckets, *given, deadline_ms=call.deadline_ms
        )
        return earlier

    def _script_call(
        self, call: _Call, keys: Sequence[bytes], values: Sequence[bytes]
    ) -> ScriptCall:
        joined = b"".join(keys)
        heads = unpack(">" + "H14x" * len(keys), joined)
        buckets: list[bytes] = []
        for generation in (call.generation, *call.others):
            names = self._buckets(generation)
            buckets += [names[head >> _UNUSED_BITS] for head in heads]
        entries = b"".join([k[_FIELD] + v for k, v in zip(keys, values, strict=True)])
        if len(entries) != _ENTRY_BYTES * len(keys):
            raise ValueError(f"a value has not {REPLAY_BYTES} bytes")
        return ScriptCall(buckets, (entries, b"%d" % call.seconds))

    def _buckets(self, generation: int) -> list[bytes]:
        """Return the key names of a generation by bucket; made once, in some milliseconds."""
        names = self._names.get(generation)
        if names is None:
            names = self._names[generation] = [
                b"pb:r:{%x}:%d:%d" % (bucket // _BUCKETS_A_TAG, generation, bucket)
                for bucket in range(_BUCKETS)
            ]
            for stale in sorted(self._names)[:-_GENERATIONS_HELD]:
                del self._names[stale]
        return names


def _by_tag(keys: Sequence[bytes]) -> list[list[int]]:
    """Return the places of keys whose buckets share a hash tag, tag by tag."""
    groups: dict[int, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key[0] >> _TAG_SHIFT, []).append(i)
    return list(groups.values())
