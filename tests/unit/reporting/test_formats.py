"""Tables and times are spelt so that every reader reads the same."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.reporting.formats import csv_lines, harmless, rfc3339

cells = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=10)


@given(st.lists(st.lists(cells, min_size=2, max_size=5), max_size=5))
def test_any_text_comes_out_of_the_csv_as_it_went_in(rows: list[list[str]]) -> None:
    read = csv.reader(io.StringIO(csv_lines(rows), newline=""), strict=True)

    assert list(read) == rows


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_times_survive_to_the_millisecond(at_ms: int) -> None:
    text = rfc3339(at_ms)

    at = datetime.fromisoformat(text)
    assert text.endswith("Z")
    assert (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000 == pytest.approx(at_ms)


def test_lines_end_as_rfc_4180_has_it() -> None:
    assert csv_lines([("a", 1), ('b"c', None)]) == 'a,1\r\n"b""c",\r\n'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1"])
def test_what_looks_like_a_formula_is_quoted(text: str) -> None:
    assert harmless(text) == "'" + text


@pytest.mark.parametrize("text", ["", "ann", "a=b", "1+1", "'x"])
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text
