"""How the command line spells times, and whom it names in the trail."""

from __future__ import annotations

import os
import pwd
from datetime import UTC, datetime

from service.domain.clock import SECOND_MS


def shown_time(at_ms: int) -> str:
    """Return a time as RFC 3339 spells it, in UTC."""
    return f"{datetime.fromtimestamp(at_ms / SECOND_MS, UTC):%Y-%m-%dT%H:%M:%SZ}"


def actor() -> str:
    """Return who runs this command: asked of the system, as anybody may set a variable."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # In a container a user often has no name.
        return f"cli:{os.getuid()}"
