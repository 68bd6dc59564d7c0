"""ISO 8601 durations of fixed length, as callers spell them, and seconds, as we keep them."""

from __future__ import annotations

import re

DURATION_PATTERN = r"^P(?:\d{1,6}W|(?:\d{1,6}D)?(?:T(?:\d{1,9}H)?(?:\d{1,9}M)?(?:\d{1,9}S)?)?)$"
_PARTS = re.compile(
    r"P(?:(?P<weeks>\d{1,6})W|(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,9})S)?)?)",
    re.ASCII,
)
_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
# From the largest unit down; weeks are read, but days are what people expect to see.
_SPELLINGS = ((86_400, "P{}D"), (3_600, "PT{}H"), (60, "PT{}M"), (1, "PT{}S"))


def seconds_of(duration: str) -> int:
    """Return a duration in seconds; years and months have no fixed length and are refused."""
    match = _PARTS.fullmatch(duration)
    parts = {} if match is None else {k: v for k, v in match.groupdict().items() if v}
    if not parts:
        raise ValueError("must be a duration like P7D or PT36H (weeks, days, hours, minutes, s)")
    return sum(int(number) * _SECONDS[unit] for unit, number in parts.items())


def duration_of(seconds: int) -> str:
    """Return seconds as a duration in the largest unit that divides them."""
    size, spelling = next(s for s in _SPELLINGS if seconds % s[0] == 0)
    return spelling.format(seconds // size)
