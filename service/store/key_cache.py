"""A copy of the keys in a file, for API processes that start while SQL is down."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec

from service.store.access_ports import HeldKeys
from service.store.sql_database import database_url

KEY_CACHE = "keys.cache"
_MAGIC = b"PBKEYS01"
_SUM_BYTES = 16
_NAME_BYTES = 16

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(HeldKeys).decode


class KeyCacheFile:
    """See `service.store.access_ports.KeyCache`; the file holds the secrets that sign tokens.

    It names the database that it is a copy of: beside another one it is no copy of anything.
    """

    def __init__(self, directory: Path, database: str) -> None:
        self._path = directory / KEY_CACHE
        # A password may change without the keys becoming others.
        address = database_url(database).set(password=None).render_as_string()
        self._database = blake2b(address.encode(), digest_size=_NAME_BYTES).digest()

    def load(self) -> HeldKeys | None:
        """Return the copy; None when there is none, it is damaged, or of another database."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return None
        head = len(_MAGIC) + _SUM_BYTES
        body = data[head:]
        if data[:head] != _MAGIC + _sum_of(body) or body[:_NAME_BYTES] != self._database:
            return None
        try:
            return _decode(body[_NAME_BYTES:])
        except (msgspec.DecodeError, UnicodeDecodeError):  # Written by another version.
            return None

    def save(self, keys: HeldKeys) -> None:
        """Replace the copy in one step, so that it survives a power cut; raises `OSError`."""
        body = self._database + _encode(keys)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Of each process its own, so that those that write together do not meet.
        unfinished = self._path.with_suffix(f".{os.getpid()}.new")
        unfinished.unlink(missing_ok=True)
        try:
            _write_synced(unfinished, _MAGIC + _sum_of(body) + body)
            unfinished.rename(self._path)
        except OSError:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        _sync_directory(self._path.parent)


def _sum_of(body: bytes) -> bytes:
    return blake2b(body, digest_size=_SUM_BYTES).digest()


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
