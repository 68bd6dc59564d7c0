"""Children that end when their parent does."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PARENT_POLL_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """End this process when its parent ends, however that happens.

    A kill loses nothing here: what was acknowledged is in the outbox or in the ledger.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _kill_self_unless_child_of(parent)  # It may have ended before we asked.
    else:
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while True:
        _kill_self_unless_child_of(parent)
        time.sleep(PARENT_POLL_SECONDS)


def _kill_self_unless_child_of(parent: int) -> None:
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
