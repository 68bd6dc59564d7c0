"""How a process that runs for months gives its memory back."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8  # See malloc.h of the GNU C library, and mallopt(3).


def keep_one_heap() -> None:
    """Have all threads of this process share one heap: to be called before any is started.

    The GNU C library gives each thread a heap of its own. What a thread needed for a moment stays
    in that, though it is free: a worker, whose statements run on several threads, grew by 2 MB a
    minute. Threads that run Python take turns anyway. Other C libraries have one heap, or no such
    option; nothing is changed there.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
