"""Talk to Redis: a bounded pool, one deadline a call, no retries, scripts that heal themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import hiredis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from service.errors import RedisUnavailableError
from service.store.redis_circuit import Circuit

CONNECTIONS_MAX = 8
# A deadline is an OSError; uvloop raises RuntimeError for a write to what has just been closed.
GONE = (RedisError, OSError, RuntimeError)
# When this process itself was held up, the answer may lie in the socket already: the loop gets
# one more look before the deadline counts. (uvloop runs timers before it reads.)
GRACE_SECONDS = 0.005
PROBE_SECONDS = 1.0  # A probe may take longer than a call: new connections greet and authenticate.

Command = tuple[bytes | int, ...]
Reply: TypeAlias = Any  # Its type is the command's: whoever sends that knows it.
T = TypeVar("T")


class Script(NamedTuple):
    """A Lua script by its SHA-1, which is what Redis knows it by."""

    text: bytes
    sha: bytes


@cache
def script(name: str) -> Script:
    """Return a script of `service/store/scripts`."""
    text = files("service.store").joinpath("scripts", f"{name}.lua").read_bytes()
    return Script(text, sha1(text, usedforsecurity=False).hexdigest().encode())


class RedisCaller(Protocol):
    """What the stores need of Redis; a cluster client has the same shape."""

    async def run(self, lua: Script, keys: Sequence[bytes], *arguments: bytes) -> Reply:
        """Run a script whose keys share one hash tag."""
        ...

    async def commands(self, commands: Iterable[Command]) -> list[Reply]:
        """Run commands in one go and return their answers; each has one key."""
        ...


class RedisClient:
    """A client of one server for callers who would rather go without than wait.

    `deadline_ms` covers a whole call: a free connection, greeting it, and the answer. A call that
    misses it leaves its connection closed, so a late answer can never be read as another's.
    """

    def __init__(
        self, url: str, *, deadline_ms: float, connections_max: int = CONNECTIONS_MAX
    ) -> None:
        self._deadline_seconds = deadline_ms / 1_000
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections_max,
            # One timer a call, ours; redis-py would start three, and a task, for each.
            timeout=None,
            socket_timeout=None,
            socket_connect_timeout=PROBE_SECONDS,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            protocol=2,  # Scripts gain nothing from RESP3, and a new connection says less.
            driver_info=None,
        )
        self._circuit = Circuit(self._probe)

    async def run(self, lua: Script, keys: Sequence[bytes], *arguments: bytes) -> Reply:
        """Run a script with all its keys; one that the server lost is loaded first.

        Raises `RedisUnavailableError` when Redis is gone, late or refuses.
        """
        self._circuit.check()
        call = _packed((b"EVALSHA", lua.sha, len(keys), *keys, *arguments))
        return await self._guarded(self._run(lua, call))

    async def commands(self, commands: Iterable[Command]) -> list[Reply]:
        """Run commands in one go; raises as `run` does, also if only one of them is refused."""
        self._circuit.check()
        packed = [_packed(command) for command in commands]
        if not packed:
            return []
        return await self._guarded(self._exchange(b"".join(packed), len(packed)))

    async def is_reachable(self) -> bool:
        """Return whether Redis answers; never raises."""
        try:
            await self.commands([(b"PING",)])
        except RedisUnavailableError:
            return False
        return True

    async def close(self) -> None:
        """Close all connections."""
        try:
            await self._circuit.close()
        finally:
            await self._pool.aclose()

    async def _guarded(self, call: Awaitable[T]) -> T:
        try:
            async with _deadline(self._deadline_seconds):
                return await call
        except ResponseError as error:  # It lives, and said no at once: nobody waits for it.
            raise RedisUnavailableError("Redis refuses the call") from error
        except GONE as error:
            self._circuit.failed(error)
            raise RedisUnavailableError("Redis is unavailable") from error

    async def _run(self, lua: Script, call: bytes) -> Reply:
        try:
            return (await self._exchange(call, 1))[0]
        except NoScriptError:
            # EVAL would do, but newer servers forget the scripts that came that way.
            load = _packed((b"SCRIPT", b"LOAD", lua.text))
            return (await self._exchange(load + call, 2))[1]

    async def _exchange(self, packed: bytes, answers: int) -> list[Reply]:
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command(packed, check_health=False)
            if answers == 1:
                return [await connection.read_response()]
            return await _read(connection, answers)
        finally:
            await self._pool.release(connection)

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._exchange(_packed((b"PING",)), 1)
        except GONE as error:
            raise RedisUnavailableError("Redis is unavailable") from error


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """Raise `TimeoutError` in the body when it takes longer, and the answer is not there yet."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        timer = loop.call_later(seconds, lambda: scope.reschedule(loop.time() + GRACE_SECONDS))
        try:
            yield
        finally:
            timer.cancel()


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # Stubs: one item.
    return packed


async def _read(connection: AbstractConnection, count: int) -> list[Reply]:
    """Read all answers before one that refuses is raised: the next call must not meet the rest."""
    answers: list[Reply] = []
    refusal: ResponseError | None = None
    for _ in range(count):
        try:
            answers.append(await connection.read_response())
        except ResponseError as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    return answers
