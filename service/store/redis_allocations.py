"""The published allocations in Redis, with their evidence, configurations and one change list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import structlog

from service.domain.allocation import Publication
from service.domain.experiment import Experiment
from service.store.records import Changes
from service.store.redis_connection import RedisCaller, script
from service.store.redis_marks import EPOCH, Marks, ServerMarks

CHANGES_MAX = 1_000  # Announcements a call.
OLD_CONFIGURATION_SECONDS = 3_600
_LIST, _SEQUENCE = b"pb:{changes}:list", b"pb:{changes}:seq"

_encode = msgspec.msgpack.Encoder().encode
_publication = msgspec.msgpack.Decoder(Publication)
_experiment = msgspec.msgpack.Decoder(Experiment)

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class RedisAllocations:
    """Keeps the highest version published of every experiment; see the port for the promises."""

    def __init__(self, redis: RedisCaller, marks: Marks | None = None) -> None:
        """Without `marks` Redis is one server."""
        self._redis = redis
        self._marks = marks or ServerMarks(redis)
        self._publish = script("publish")
        self._announce = script("announce")
        self._changes = script("changes")

    async def publish(self, publication: Publication, experiment: Experiment) -> bool:
        """Publish a version unless a higher one, or newer evidence of it, stands there."""
        number, revision = experiment.number, experiment.revision
        keys = [_allocation(number), _configuration(number, revision)]
        is_newest = await self._redis.run(
            self._publish,
            [*keys, _configuration(number, revision - 2)],
            b"%d" % publication.allocation.version,
            b"%d" % publication.evidence.revision,
            _encode(publication),
            _encode(experiment),
            b"%d" % OLD_CONFIGURATION_SECONDS,
        )
        if not is_newest:
            return False
        # The list has a hash tag of its own. Whoever is killed here publishes again: same
        # version, and this time announced.
        await self._redis.run(self._announce, [_LIST, _SEQUENCE], b"%d" % number)
        return True

    async def fetch(self, experiment: int) -> Publication | None:
        """Return what is published, or None."""
        (body,) = await self._redis.commands([(b"HGET", _allocation(experiment), b"body")])
        return _decoded(body, _publication)

    async def configuration(self, experiment: int, revision: int) -> Experiment | None:
        """Return a published configuration, or None."""
        (body,) = await self._redis.commands([(b"GET", _configuration(experiment, revision))])
        return _decoded(body, _experiment)

    async def versions(self, experiments: Sequence[int]) -> dict[int, int]:
        """Return the published version of each experiment; those without one are left out."""
        found = await self._redis.commands(
            (b"HGET", _allocation(number), b"version") for number in experiments
        )
        pairs = zip(experiments, found, strict=True)
        return {number: int(version) for number, version in pairs if version is not None}

    async def changes(self, epoch: str, cursor: int) -> Changes:
        """Return what was published after a cursor of an epoch; all of it if the epoch differs."""
        experiments: list[int] = []
        while True:
            told, newest, found = await self._redis.run(
                self._changes,
                [_LIST, _SEQUENCE, EPOCH],
                epoch.encode(),
                b"%d" % cursor,
                b"%d" % CHANGES_MAX,
            )
            epoch = told.decode()
            experiments += map(int, found[::2])
            if len(found) < 2 * CHANGES_MAX:
                return Changes(epoch, int(newest), tuple(experiments))
            cursor = int(found[-1])

    async def epoch(self) -> str:
        """Return the mark of this memory, '' without one or with that of another server."""
        return await self._marks.epoch()

    async def begin_epoch(self, epoch: str, after: str | None = None) -> bool:
        """Mark the memory, on the server of now; False when `after` is given and not its mark."""
        return await self._marks.begin(epoch, after)


def _allocation(experiment: int) -> bytes:
    return b"pb:a:{%d}" % experiment


def _configuration(experiment: int, revision: int) -> bytes:
    return b"pb:c:{%d}:%d" % (experiment, revision)


def _decoded(body: bytes | None, decoder: msgspec.msgpack.Decoder[T]) -> T | None:
    """Return what is published, or None where another release wrote what this one cannot read."""
    if body is None:
        return None
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        _log.warning("published_body_unreadable", error=str(error))
        return None
