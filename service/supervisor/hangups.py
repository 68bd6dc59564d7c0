"""What SIGHUP means: at a terminal that was closed the end, elsewhere a wish for new children."""

from __future__ import annotations

import os
import signal

_STANDARD = (0, 1)  # What is read and written by default.


def is_at_terminal() -> bool:
    """Whether somebody started this process in a terminal, which they may close."""
    return any(os.isatty(descriptor) for descriptor in _STANDARD)


def outlive_hangups() -> None:
    """Have a wish for new children that comes before there are any end nothing."""
    if not is_at_terminal():
        # Not SIG_IGN: what is ignored stays so in every process that this one starts.
        signal.signal(signal.SIGHUP, lambda *_: None)
