"""Talk to Redis: a bounded pool, one deadline a call, no retries, scripts that heal themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from service.errors import RedisUnavailableError
from service.store.redis_circuit import Circuit
from service.store.redis_deadline import Deadline
from service.store.redis_factory import ConnectionFactory, connection_factory

CONNECTIONS_MAX = 8
# A deadline is an OSError; uvloop raises RuntimeError for a write to what has just been closed.
GONE = (RedisError, OSError, RuntimeError)
PROBE_SECONDS = 1.0  # A probe may take longer than a call: new connections greet and authenticate.
# A primary takes a write; a replica, which a failover may leave behind an address, would answer
# a PING as well.
_PROBE = (b"SET", b"pb:probe", b"", b"PX", b"1000")

Command = tuple[bytes | int, ...]
Reply: TypeAlias = Any  # Its type is the command's: whoever sends that knows it.
T = TypeVar("T")


class Script(NamedTuple):
    """A Lua script by its SHA-1, which is what Redis knows it by."""

    text: bytes
    sha: bytes


class ScriptCall(NamedTuple):
    """What a script is run with; its keys share one hash tag."""

    keys: Sequence[bytes]
    arguments: tuple[bytes, ...]


@cache
def script(name: str) -> Script:
    """Return a script of `service/store/scripts`."""
    text = files("service.store").joinpath("scripts", f"{name}.lua").read_bytes()
    return Script(text, sha1(text, usedforsecurity=False).hexdigest().encode())


class RedisCaller(Protocol):
    """What the stores need of Redis; a cluster client has the same shape."""

    async def run(
        self,
        lua: Script,
        keys: Sequence[bytes],
        *arguments: bytes,
        deadline_ms: float | None = None,
    ) -> Reply:
        """Run a script whose keys share one hash tag."""
        ...

    async def run_each(
        self, lua: Script, calls: Sequence[ScriptCall], deadline_ms: float | None = None
    ) -> list[Reply]:
        """Run a script for each call; an error stands in the place of an answer, none is raised."""
        ...

    async def commands(self, commands: Iterable[Command]) -> list[Reply]:
        """Run commands in one go and return their answers; the first argument is the only key."""
        ...


class RedisClient:
    """A client of one server for callers who would rather go without than wait.

    `deadline_ms` covers a whole call: a free connection, greeting it, and the answer. A call that
    misses it leaves its connection closed, so a late answer can never be read as another's. After
    a failure no connection from before is used again: the server may be another one by now.
    """

    def __init__(
        self,
        address: str | ConnectionFactory,
        *,
        deadline_ms: float,
        connections_max: int = CONNECTIONS_MAX,
        on_circuit: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Take a URL, or what makes connections to the server.

        `on_circuit` is told whenever calls begin to be turned away, and when that ends.
        """
        self._deadline_seconds = deadline_ms / 1_000
        # Only makes connections. Its own pool costs a batch as much as the rest of a call: the
        # bounded, blocking one is the semaphore and the list below.
        self._factory = connection_factory(address) if isinstance(address, str) else address
        self._connections_max = connections_max
        self._places = asyncio.Semaphore(connections_max)
        # Each with the number of failures before it was connected.
        self._idle: list[tuple[AbstractConnection, int]] = []
        self._made = 0
        self._failures = 0
        self._circuit = Circuit(self._probe, on_circuit)

    @property
    def usage(self) -> tuple[int, int]:
        """How many connections are in use, and how many may be."""
        return self._made - len(self._idle), self._connections_max

    async def run(
        self,
        lua: Script,
        keys: Sequence[bytes],
        *arguments: bytes,
        deadline_ms: float | None = None,
        is_asking: bool = False,
    ) -> Reply:
        """Run a script with all its keys; one that the server lost is loaded first.

        `deadline_ms` may shorten the client's own. `is_asking` is for a node of a cluster that
        is about to take the keys' slot over. Raises `RedisUnavailableError` when Redis is gone,
        late or refuses; what it said is the cause.
        """
        self._circuit.check()
        seconds = self._seconds(deadline_ms)
        call = _packed((b"EVALSHA", lua.sha, len(keys), *keys, *arguments))
        return await self._guarded(self._run(lua, call, _ASKING if is_asking else b""), seconds)

    async def run_each(
        self, lua: Script, calls: Sequence[ScriptCall], deadline_ms: float | None = None
    ) -> list[Reply]:
        """Run a script for each call; an error stands in the place of an answer, none is raised."""
        runs = (self.run(lua, keys, *given, deadline_ms=deadline_ms) for keys, given in calls)
        return await asyncio.gather(*runs, return_exceptions=True)

    async def run_together(
        self, lua: Script, calls: Sequence[ScriptCall], deadline_ms: float | None = None
    ) -> list[Reply]:
        """Run a script for each call in one go; what Redis refuses stands as it said it."""
        self._circuit.check()
        seconds = self._seconds(deadline_ms)
        packed = [_packed((b"EVALSHA", lua.sha, len(c.keys), *c.keys, *c.arguments)) for c in calls]
        exchange = self._exchange(b"".join(packed), len(calls), is_each=True)
        return await self._guarded(exchange, seconds)

    async def commands(
        self, commands: Iterable[Command], deadline_ms: float | None = None
    ) -> list[Reply]:
        """Run commands in one go; raises as `run` does, also if only one of them is refused."""
        self._circuit.check()
        seconds = self._seconds(deadline_ms)
        packed = [_packed(command) for command in commands]
        if not packed:
            return []
        return await self._guarded(self._exchange(b"".join(packed), len(packed)), seconds)

    async def is_reachable(self) -> bool:
        """Return whether Redis answers; never raises."""
        try:
            await self.commands([(b"PING",)])
        except RedisUnavailableError:
            return False
        return True

    async def retire(self) -> None:
        """Refuse new calls, let those under way end, and close."""
        await self._circuit.close()
        for _ in range(self._connections_max):
            await self._places.acquire()
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        try:
            await self._circuit.close()
        finally:
            # One that still has something to say to a server that is gone takes its time.
            closing = (connection.disconnect() for connection, _ in self._idle)
            await asyncio.gather(*closing, self._factory.close(), return_exceptions=True)

    def _seconds(self, deadline_ms: float | None) -> float:
        if deadline_ms is None or deadline_ms >= self._deadline_seconds * 1_000:
            return self._deadline_seconds
        if deadline_ms <= 0.0:
            raise RedisUnavailableError("the deadline has passed")
        return deadline_ms / 1_000

    async def _guarded(self, call: Awaitable[T], seconds: float) -> T:
        try:
            async with Deadline(seconds):
                return await call
        except TimeoutError as error:
            # A caller in a hurry is no proof against Redis, or one could shut out all the others.
            if seconds < self._deadline_seconds:
                self._circuit.doubted()
            else:
                self._failed(error)
            raise RedisUnavailableError("Redis is late") from error
        except ResponseError as error:  # It lives, and said no at once: nobody waits for it.
            if _is_no_primary(error):
                self._failed(error)
            raise RedisUnavailableError("Redis refuses the call") from error
        except GONE as error:
            self._failed(error)
            raise RedisUnavailableError("Redis is unavailable") from error

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        self._circuit.failed(error)

    async def _run(self, lua: Script, call: bytes, asking: bytes) -> Reply:
        count = 2 if asking else 1
        try:
            return (await self._exchange(asking + call, count))[-1]
        except NoScriptError:
            # EVAL would do, but newer servers forget the scripts that came that way.
            load = _packed((b"SCRIPT", b"LOAD", lua.text))
            return (await self._exchange(load + asking + call, count + 1))[-1]

    async def _exchange(self, packed: bytes, answers: int, *, is_each: bool = False) -> list[Reply]:
        async with self._places:
            connection, made_after = self._idle.pop() if self._idle else self._new_connection()
            is_old, made_after = made_after != self._failures, self._failures
            try:
                if connection.is_connected and (is_old or await connection.can_read()):
                    # The server closed it while it was idle, or may be no longer the right one.
                    await connection.disconnect(nowait=True)
                if not connection.is_connected:
                    # Sending would do it too, but without asking the Sentinels for the address.
                    await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_packed_command(packed, check_health=False)
                if is_each:
                    return await _read_each(connection, answers)
                if answers == 1:
                    return [await connection.read_response()]
                return await _read(connection, answers)
            finally:
                self._idle.append((connection, made_after))

    def _new_connection(self) -> tuple[AbstractConnection, int]:
        connection = self._factory.make()
        self._made += 1
        return connection, self._failures

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._exchange(_packed(_PROBE), 1)
        except ResponseError as error:
            if _is_no_primary(error):
                self._failures += 1
                raise RedisUnavailableError("Redis is no primary") from error
        except GONE as error:
            self._failures += 1
            raise RedisUnavailableError("Redis is unavailable") from error


def _is_no_primary(error: ResponseError) -> bool:
    """Whether a replica refused to write; a script's error has more words before that."""
    return "READONLY" in str(error) or isinstance(error, ReadOnlyError)


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # Stubs: one item.
    return packed


_ASKING = _packed((b"ASKING",))  # Holds for the one command after it.


async def _read(connection: AbstractConnection, count: int) -> list[Reply]:
    """Read all answers before one that refuses is raised: the next call must not meet the rest."""
    answers = await _read_each(connection, count)
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers


async def _read_each(connection: AbstractConnection, count: int) -> list[Reply]:
    answers: list[Reply] = []
    for _ in range(count):
        try:
            answers.append(await connection.read_response())
        except ResponseError as error:
            answers.append(error)
    return answers
