"""The outbox's quarantine as a place of personal data: wipe a unit from it, remove what is old."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from service.domain.clock import SECOND_MS
from service.domain.erasure import Erasure
from service.store.outbox_reader import QUARANTINE

_UNFINISHED_SUFFIX = ".new"
# A shorter text stands in many files by chance: then it must be a whole field of a record.
_TELLING_BYTES_MIN = 6


class QuarantineFiles:
    """See `service.store.privacy_ports.Quarantine`; several workers may do the same at once."""

    def __init__(self, outbox: Path) -> None:
        self._directory = outbox / QUARANTINE

    def erase(self, erasures: Sequence[Erasure]) -> int:
        """Wipe what tells the units, or remove the file; return how many files changed."""
        meant = [erasure for erasure in erasures if erasure.unit]
        return sum(self._erase(path, meant) for path in self._files()) if meant else 0

    def expire(self, before_ms: int) -> int:
        """Remove files put aside before a time; return how many."""
        count = 0
        for path in self._files():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime * SECOND_MS < before_ms:
                    path.unlink()
                    count += 1
        return count

    def _files(self) -> Iterator[Path]:
        return (path for path in sorted(self._directory.glob("*")) if path.is_file())

    def _erase(self, path: Path, erasures: Sequence[Erasure]) -> bool:
        with suppress(FileNotFoundError):
            data = path.read_bytes()
            kept = data
            for erasure in erasures:
                kept = _without(kept, erasure) if kept else kept
            if kept != data:
                _replace(path, kept)
                return True
        return False


def _replace(path: Path, data: bytes) -> None:
    if not data:
        path.unlink()
        return
    unfinished = path.with_suffix(_UNFINISHED_SUFFIX)
    unfinished.write_bytes(data)
    unfinished.replace(path)


def _without(data: bytes, erasure: Erasure) -> bytes:
    """Return a file's content without a unit; nothing where the unit cannot be cut out."""
    try:
        body = msgspec.json.decode(data)
        record = body[body["kind"]]
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError):
        return b"" if _tells(data, erasure.unit) else data
    if record.get("tenant") != erasure.tenant or not _wipe(record, erasure.unit):
        return data
    return msgspec.json.format(msgspec.json.encode(body))


def _wipe(record: dict[str, Any], unit: str) -> bool:
    """Wipe a record as `QuarantineFiles` finds it in JSON; return whether it told the unit."""
    if record.get("unit") == unit:
        tells = unit in record["occasion"]
        record |= {"unit": "", "context": None, "occasion": "" if tells else record["occasion"]}
        return True
    if unit in record.get("event_id", ""):
        record["event_id"] = ""
        return True
    return False


def _tells(data: bytes, unit: str) -> bool:
    """Whether bytes that are no record any more hold a unit."""
    text = unit.encode()
    return (text if len(text) >= _TELLING_BYTES_MIN else msgspec.msgpack.encode(unit)) in data
