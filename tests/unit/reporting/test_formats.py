"""Tables and times are spelt so that every reader reads the same."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.reporting.formats import csv_lines, harmless, harmless_json, rfc3339

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


MARKS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
HOSTILE = {
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-1": "'-1",
    "@sum": "'@sum",
    "  =1": "'  =1",
    "\tx": "'\tx",
    "\rx": "'\rx",
    "\nx": "'\nx",
    "\uff1d1": "'\uff1d1",
    "\uff0b1": "'\uff0b1",
    "\uff0d1": "'\uff0d1",
    "\uff201": "'\uff201",
    "a;=1": "a;'=1",
    "a,=1": "a,'=1",
    "a|\u00a0=1": "a|\u00a0'=1",
    "a\t@1": "a\t'@1",
    "a\r\n-1": "a\r\n'-1",
    'a"=1': "a\"'=1",
    "a'=1": "a''=1",
    "=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0",
    ";;=1;+2": ";;'=1;'+2",
}


@pytest.mark.parametrize(("text", "spelt"), HOSTILE.items())
def test_what_looks_like_a_formula_is_quoted(text: str, spelt: str) -> None:
    assert harmless(text) == spelt


@given(st.text([*MARKS, *"\t\r\n;,|\"' a1"], max_size=12), st.sampled_from(",;\t|"))
def test_no_reader_of_any_country_finds_a_formula(text: str, separator: str) -> None:
    line = csv_lines([["first", harmless(text), "last"]])

    rows = csv.reader(io.StringIO(line, newline=""), delimiter=separator)

    assert [cell for row in rows for cell in row if cell.strip().startswith(MARKS)] == []


@given(st.recursive(st.integers() | st.text([*MARKS, *';\t"\\ a']), st.lists))
def test_json_is_spelt_harmlessly_and_says_the_same(value: object) -> None:
    text = json.dumps({"it": value}, ensure_ascii=False)
    line = csv_lines([["first", harmless_json(text)]])

    rows = csv.reader(io.StringIO(line, newline=""), delimiter=";")

    assert json.loads(harmless_json(text)) == {"it": value}
    assert [cell for row in rows for cell in row if cell.strip().startswith(MARKS)] == []


@pytest.mark.parametrize("text", ["", "ann", "a=b", "1+1", "'x", "2026-11-24", "a.b+c@d.org"])
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text
