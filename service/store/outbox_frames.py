"""How records lie in an outbox segment: a header, then frames of magic, length, CRC and msgpack."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from service.domain.decision import Decision
from service.domain.reward import Reward
from service.store.records import CommittedReward, Record, Witness

SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENT_SUFFIX = ".seg"
ID_BYTES = 8
FILE_MAGIC = b"PBOUTBX1"
FRAME_MAGIC = b"\xf5PbR"  # 0xF5 is in no UTF-8 text, so callers' strings cannot look like it.
# The limits on unit, occasion, event id and context make a record 5 KiB at most.
PAYLOAD_BYTES_MAX = 64 * 1024
_HEADER = struct.Struct("<8s8sI4x")
HEADER_BYTES = _HEADER.size
FRAME = struct.Struct("<4sII")
FRAME_HEAD_BYTES = FRAME.size
FRAME_BYTES_MAX = FRAME_HEAD_BYTES + PAYLOAD_BYTES_MAX

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Decision | Reward | CommittedReward | Witness).decode
# A reward is packed as an array of 13 that its tag begins; another tag makes it another kind.
_COMMITTED, _WITNESS = b"\x9d\x03", b"\x9d\x04"


def segment_name(at_ms: int, pid: int, sequence: int, identity: bytes) -> str:
    """Return a name that sorts by age and that no segment of any machine shares."""
    return f"{at_ms:013d}-{sequence:06d}-{pid}-{identity.hex()}{SEGMENT_SUFFIX}"


def header(identity: bytes) -> bytes:
    """Return the first bytes of a segment."""
    return _HEADER.pack(FILE_MAGIC, identity, zlib.crc32(identity))


def seed_of(identity: bytes) -> int:
    """Return where a segment's checksums start: frames of other files never look valid in it."""
    return zlib.crc32(identity, 1)


def seed_from(head: bytes, name: str) -> int:
    """Return the seed as a segment's header tells it, or its name where the header is damaged."""
    if len(head) == HEADER_BYTES:
        magic, identity, checksum = _HEADER.unpack(head)
        if magic == FILE_MAGIC and checksum == zlib.crc32(identity):
            return seed_of(identity)
    try:
        return seed_of(bytes.fromhex(name.removesuffix(SEGMENT_SUFFIX).rpartition("-")[2]))
    except ValueError:  # Renamed by hand and damaged: its frames will be quarantined.
        return 0


def frames_of(records: Sequence[Record], seed: int, committed: int = 0) -> bytes:
    """Return the frames of records in one piece; `ValueError` for one that is too long.

    So many rewards at the start are marked as committed, the first of them as their witness.
    """
    crc32, pack = zlib.crc32, FRAME.pack
    payloads = list(map(_encode, records))
    if committed:
        payloads[:committed] = [_COMMITTED + p[2:] for p in payloads[:committed]]
        payloads[0] = _WITNESS + payloads[0][2:]
    if max(map(len, payloads), default=0) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"a record has more than {PAYLOAD_BYTES_MAX} bytes")
    return b"".join([pack(FRAME_MAGIC, len(p), crc32(p, seed)) + p for p in payloads])


class Parsed(NamedTuple):
    """What `parse` found: whole frames from the start on, up to the first that is not one."""

    records: list[Record]
    unreadable: list[tuple[int, int]]  # Whole frames (start, end) that hold no record of ours.
    end: int


def parse(window: bytes, start: int, seed: int, count: int) -> Parsed:
    """Decode at most `count` frames of a window from a place on."""
    records: list[Record] = []
    unreadable: list[tuple[int, int]] = []
    position = start
    for _ in range(count):
        end = frame_end(window, position, seed)
        if end is None:
            break
        try:
            records.append(_decode(window[position + FRAME_HEAD_BYTES : end]))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            unreadable.append((position, end))
        position = end
    return Parsed(records, unreadable, position)


def frame_end(window: bytes, position: int, seed: int) -> int | None:
    """Return where a whole and sound frame at a place ends, or None if there is none."""
    body = position + FRAME_HEAD_BYTES
    if body > len(window):
        return None
    magic, length, checksum = FRAME.unpack_from(window, position)
    end: int = body + length
    if magic != FRAME_MAGIC or length > PAYLOAD_BYTES_MAX or end > len(window):
        return None
    return end if zlib.crc32(window[body:end], seed) == checksum else None


def next_frame(window: bytes, position: int, seed: int) -> int | None:
    """Return where the next whole and sound frame after a place starts, or None."""
    found = window.find(FRAME_MAGIC, position)
    while found >= 0:
        if frame_end(window, found, seed) is not None:
            return found
        found = window.find(FRAME_MAGIC, found + 1)
    return None
