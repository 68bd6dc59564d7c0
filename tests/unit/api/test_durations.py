"""Durations come back as the seconds they were made of."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.durations import DURATION_PATTERN, duration_of, seconds_of


@given(st.integers(min_value=1, max_value=10**9 - 1))
def test_any_number_of_seconds_survives_the_spelling(seconds: int) -> None:
    assert seconds_of(duration_of(seconds)) == seconds


@given(st.integers(min_value=1, max_value=10**9 - 1))
def test_every_spelling_of_ours_fits_the_published_pattern(seconds: int) -> None:
    assert re.match(DURATION_PATTERN, duration_of(seconds))


@given(*[st.integers(min_value=0, max_value=999)] * 4)
def test_days_hours_minutes_and_seconds_add_up(d: int, h: int, m: int, s: int) -> None:
    assert seconds_of(f"P{d}DT{h}H{m}M{s}S") == ((d * 24 + h) * 60 + m) * 60 + s


@given(st.text(alphabet="PTWDHMS0123456789.-", max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = seconds_of(text)
    except ValueError:
        return
    assert seconds >= 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("P7D", 604_800), ("PT36H", 129_600), ("P1W", 604_800), ("P1DT12H", 129_600), ("PT90S", 90)],
)
def test_the_usual_spellings_are_read(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(604_800, "P7D"), (129_600, "PT36H"), (5_400, "PT90M"), (90, "PT90S"), (86_400, "P1D")],
)
def test_the_largest_unit_that_divides_is_written(seconds: int, text: str) -> None:
    assert duration_of(seconds) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1DT",
        "7D",
        "P1Y",
        "P1M",
        "P1.5D",
        "-P1D",
        "p7d",
        "P7D ",
        "P1W2D",
        "P\u0661D",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        seconds_of(text)
