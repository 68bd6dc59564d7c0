"""No error may repeat what the caller sent: not even eight bytes of it."""

from __future__ import annotations

import re
from functools import lru_cache

from service.domain.limits import VALUE_ABS_MAX

PIECE_BYTES = 8
# Names and limits of the schemas are ours, though a caller must send or may meet them too.
_OURS = re.compile(
    r"experiment|occasion|occurred_at|decision_id|event_id|eligible|context|rewards|units?|format"
    rf"|\b{re.escape(str(VALUE_ABS_MAX))}"
)


@lru_cache(maxsize=1_000)
def _pieces(text: str) -> tuple[bytes, ...]:
    parts = [part.encode() for part in _OURS.split(text)]
    return tuple(
        {part[i : i + PIECE_BYTES] for part in parts for i in range(len(part) - PIECE_BYTES + 1)}
    )


def check_no_echo(text: str, data: bytes) -> None:
    """Fail if an error's text holds a piece of the input."""
    for piece in _pieces(text):
        assert piece not in data, f"{piece!r} of the input came back"
