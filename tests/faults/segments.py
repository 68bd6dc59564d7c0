"""Outbox segments as bytes, for scenarios to damage."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from pathlib import Path
from typing import NamedTuple

from service.domain.decision import Decision
from service.domain.limits import NONCE_MARK
from service.store.outbox_frames import (
    HEADER_BYTES,
    SEGMENT_SUFFIX,
    frame_end,
    frames_of,
    parse,
    seed_from,
)
from service.store.records import Record
from tests.faults.verdict import key_of


class Frame(NamedTuple):
    """A record and where it lies."""

    start: int
    end: int
    record: Record

    @property
    def is_nameless(self) -> bool:
        """Whether it is a choice without an occasion, which nobody can repeat."""
        return isinstance(self.record, Decision) and self.record.occasion.startswith(NONCE_MARK)


def segment_of(outbox: Path, pid: int) -> Path:
    """Return the newest segment that a process has written to."""
    paths = sorted(outbox.glob(f"*-{pid}-*{SEGMENT_SUFFIX}"), reverse=True)
    return next(path for path in paths if frames_in(path))


def frames_in(path: Path) -> list[Frame]:
    """Return all sound frames from the start on."""
    data = path.read_bytes()
    seed = seed_from(data[:HEADER_BYTES], path.name)
    found: list[Frame] = []
    place = HEADER_BYTES
    while (end := frame_end(data, place, seed)) is not None:
        found += [Frame(place, end, record) for record in parse(data, place, seed, 1).records]
        place = end
    return found


def half_a_frame(path: Path, like: Frame) -> bytes:
    """Return the first half of a record that would be valid as a whole."""
    seed = seed_from(path.read_bytes()[:HEADER_BYTES], path.name)
    whole = frames_of([like.record], seed)
    return whole[: len(whole) // 2]


def key_text(frame: Frame) -> str:
    """Return how the decision ids of a record's send begin."""
    return key_of(urlsafe_b64encode(frame.record.key).decode())
