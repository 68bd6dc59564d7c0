"""How figures are spelt in sentences."""

from __future__ import annotations

_PERCENT_WHOLE_MIN = 0.1
_HOURS_WHOLE_MIN = 10.0
_DAYS_MIN = 48.0
_MINUTE = 1 / 60
_HOUR_HOURS = 1.0


def percent(share: float) -> str:
    """Return a share in per cent, with one decimal where it is small."""
    return f"{share:.0%}" if share >= _PERCENT_WHOLE_MIN or not share else f"{share:.1%}"


def duration(hours: float) -> str:
    """Return a time as a person would say it."""
    if hours < _HOUR_HOURS:
        return _plural(round(hours / _MINUTE), "minute")
    if hours >= _DAYS_MIN:
        return _plural(round(hours / 24), "day")
    if hours >= _HOURS_WHOLE_MIN or float(hours).is_integer():
        return _plural(round(hours), "hour")
    return f"{hours:.1f} hours"


def count(number: float) -> str:
    """Return a number of things with thousands set apart."""
    return f"{round(number):,}"


def _plural(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
