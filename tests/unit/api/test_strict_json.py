"""JSON that two parsers could read differently, or that no database takes, is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.strict_json import loads
from service.domain.limits import JSON_DEPTH_MAX
from service.errors import InvalidInputError

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20) + 1, 10**20 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)
REFUSED = {
    "nothing": b"",
    "a word": b"sEcReT",
    "two values": b"{} {}",
    "a comma too many": b"[1,]",
    "a comment": b"{} // sEcReT",
    "NaN": b"[NaN]",
    "infinity": b"[Infinity]",
    "minus infinity": b"[-Infinity]",
    "a number that is infinite": b"[1e999]",
    "a number that is minus infinite": b"[-1e999]",
    "an integer of 21 digits": b"[100000000000000000000]",
    "an integer of 21 digits below zero": b"[-100000000000000000000]",
    "an integer that takes a while": b"[" + b"9" * 50_000 + b"]",
    "a key twice": b'{"sEcReT": 1, "sEcReT": 1}',
    "a key twice, spelt differently": b'{"a": 1, "\\u0061": 2}',
    "a key twice inside": b'[{"x": {"a": 1, "a": 2}}]',
    "half a pair": b'["\\ud800"]',
    "the other half": b'["sEcReT\\udfff"]',
    "a pair the wrong way round": b'["\\udc00\\ud800"]',
    "half a pair as key": b'{"\\ud83d": 1}',
    "bytes of half a pair": b'["\xed\xa0\x80"]',
    "bytes that are no text": b'["\xff\xfe"]',
    "an overlong byte sequence": b'["\xc0\x80"]',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a zero": b'["\\u0000"]',
    "a zero as key": b'{"x\\u0000": 1}',
    "a bare zero": b'["\x00"]',
    "a bare line end": b'["\n"]',
    "deep lists": b"[" * (JSON_DEPTH_MAX + 1) + b"]" * (JSON_DEPTH_MAX + 1),
    "deep objects": b'{"a":' * (JSON_DEPTH_MAX + 1) + b"1" + b"}" * (JSON_DEPTH_MAX + 1),
    "lists deeper than the stack": b"[" * 60_000 + b"]" * 60_000,
    "objects deeper than the stack": b'{"a":' * 60_000,
}


@given(VALUES)
def test_every_value_comes_back_as_it_was_sent(value: Any) -> None:  # noqa: ANN401  Any JSON.
    assert loads(json.dumps(value).encode()) == value


@given(st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = loads(body)
    except InvalidInputError:
        return

    json.dumps(value, allow_nan=False).encode()


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_a_text_that_is_no_strict_json_is_refused_without_a_word_of_it(body: bytes) -> None:
    with pytest.raises(InvalidInputError) as refused:
        loads(body)

    assert "sEcReT" not in str(refused.value)


def test_the_deepest_value_is_read() -> None:
    assert loads(b"[" * JSON_DEPTH_MAX + b"1" + b"]" * JSON_DEPTH_MAX)


def test_a_whole_pair_of_surrogates_is_one_character() -> None:
    assert loads(b'["\\ud83d\\ude00"]') == ["\N{GRINNING FACE}"]
