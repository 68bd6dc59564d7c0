"""How many connections a process holds, and who gives way to a new one."""

from __future__ import annotations

import resource
from collections.abc import Collection, Iterable
from typing import Protocol

FILES_MAX = 65_536  # Of one process; no more are asked of the system.
# For the stores' connections, the outbox, logs and what else the process itself opens.
FILES_RESERVED = 256
LINGERING_MAX = 64  # Of the reserved: clients beyond the limit that are told so in peace.


class Guest(Protocol):
    """A connection, as far as its place is concerned."""

    def idleness(self) -> int:
        """Return how readily its place may be taken; 0 for one whose place is its own."""
        ...

    def give_way(self) -> None:
        """Close at once."""
        ...


class Counts(Protocol):
    """Who is told of connections."""

    def connected(self, count: int) -> None:
        """Note how many there are."""
        ...

    def disconnected(self, reason: str) -> None:
        """Note that one was ended by us: refused, gave_way, stalled."""
        ...


class Room:
    """The places of a process's connections.

    Who may give way is looked for once a second at most, so that a flood of newcomers costs each
    of them little, and requests nothing.
    """

    def __init__(self, places: int, counts: Counts) -> None:
        self._places = places
        self._counts = counts
        self._idle: list[Guest] = []
        self._is_searched = False

    def has_place(self, guests: Collection[Guest]) -> bool:
        """Return whether the newest of the guests may stay, perhaps in another's place."""
        if len(guests) <= self._places:
            return True
        if not self._is_searched:
            self._search(guests)
        while self._idle:
            guest = self._idle.pop()
            if guest in guests and guest.idleness():
                self._counts.disconnected("gave_way")
                guest.give_way()
                return True
        self._counts.disconnected("refused")
        return False

    def may_linger(self, guests: Collection[Guest]) -> bool:
        """Return whether there is a file left for one who is being refused."""
        return len(guests) <= self._places + LINGERING_MAX

    def stalled(self) -> None:
        """Count a client that took nothing of its answer."""
        self._counts.disconnected("stalled")

    def tick(self, guests: Collection[Guest]) -> None:
        """Look for idle ones anew when the next one needs a place."""
        self._idle.clear()
        self._is_searched = False
        self._counts.connected(len(guests))

    def _search(self, guests: Iterable[Guest]) -> None:
        self._is_searched = True
        ranked = [(guest.idleness(), guest) for guest in guests]
        ranked.sort(key=lambda pair: pair[0])
        self._idle = [guest for idleness, guest in ranked if idleness]


class _Nobody:
    def connected(self, count: int) -> None:
        """Tell nobody."""

    def disconnected(self, reason: str) -> None:
        """Tell nobody."""


def endless_room() -> Room:
    """Return room for all, which nobody watches."""
    return Room(FILES_MAX, _Nobody())


def raise_file_limit() -> int:
    """Let this process open as many files as it may; return how many of them connections may be."""
    soft, hard = (
        FILES_MAX if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    files = max(soft, min(hard, FILES_MAX))
    if files > soft:
        _, kept = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, kept))
    files = min(files, FILES_MAX)
    return max(files - FILES_RESERVED, files // 2)
