"""A transport that joins the head and the body of an answer into one packet."""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios

# A stream that never awaits anything else would join without end, and never be told to pause.
PARTS_MAX = 8


class CorkedTransport:
    """A transport that joins what one turn of the loop writes.

    uvicorn writes the head and the body of an answer apart; together they cost one system call
    and one packet instead of two.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._written_bytes = 0
        self._taken_bytes: int | None = None  # Of answers that wait to be taken.
        self.stalled_seconds = 0
        self._call_soon = asyncio.get_running_loop().call_soon
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write soon."""
        if not self._parts:
            self._call_soon(self._flush)
        elif len(self._parts) == PARTS_MAX:
            self._flush()
        self._parts.append(data)

    def write_eof(self) -> None:
        """Write what is there, then say that nothing follows."""
        self._flush()
        if not self.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """Write what is there, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        data = b"".join(self._parts)
        self._parts.clear()
        # A client that hung up since the write is nobody to write to: uvloop would raise.
        if data and not self.is_closing():
            self._written_bytes += len(data)
            self._transport.write(data)

    @property
    def is_waiting(self) -> bool:
        """Whether something waited to be taken at the last tick."""
        return self._taken_bytes is not None

    def tick(self) -> None:
        """Count a second in which the client took nothing of what waits for it."""
        before, self._taken_bytes = self._taken_bytes, self.taken_bytes()
        if self._taken_bytes is None or self._taken_bytes != before:
            self.stalled_seconds = 0
        else:
            self.stalled_seconds += 1

    def taken_bytes(self) -> int | None:
        """Return how much of what was written the client's side has taken; None if all is sent."""
        waiting = self._transport.get_write_buffer_size()
        return self._written_bytes - waiting - self._queued_bytes() if waiting else None

    def _queued_bytes(self) -> int:
        """Return what the kernel holds: megabytes, of which it lets us see a third go at once."""
        sock = self._transport.get_extra_info("socket")
        try:
            return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:  # Closed, or a system that does not tell.
            return 0

    def __getattr__(self, name: str) -> object:
        """Be the transport in all else."""
        return getattr(self._transport, name)
