"""Where the fuzzers start: valid inputs, and what has hurt decoders before."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec

from service.domain.access import key_text
from service.domain.decision import Decision, decision_key, replay_of
from service.domain.reward import Reward
from service.domain.token import TokenCodec
from service.store.outbox_frames import frames_of, seed_of

CODEC = TokenCodec({1: b"k" * 32, 2: b"l" * 32}, 1)
HEAD_BYTES = 33  # An input of this length is read as the numbers of a decision.
SEED_OF_FRAMES = seed_of(b"identity")
NOW_MS = 1_795_000_000_000
_DIGITS, _LEVELS = 10_000, 3_000


def decision(**changes: Any) -> Decision:  # noqa: ANN401  The fields of Decision.
    """Return a decision, with some fields of one's own."""
    fields: dict[str, Any] = {
        "key": decision_key(1, 1, "r-1", "mon"),
        "tenant": 1,
        "experiment": 1,
        "variant": 1,
        "propensity": 0.5,
        "source": 0,
        "holdout": False,
        "version": 7,
        "key_id": 1,
        "decided_at_ms": NOW_MS,
        "unit": "r-1",
        "occasion": "mon",
    }
    return Decision(**{**fields, **changes})


def seeds_of(name: str) -> list[bytes]:
    """Return the seeds of a target."""
    return _SEEDS[name]()


def _nasty(fields: dict[str, str]) -> list[bytes]:
    """Return bodies that are valid but for one field at a time, written as JSON texts."""
    values = [
        "[" * _LEVELS + "]" * _LEVELS,
        '{"a":' * _LEVELS + "1" + "}" * _LEVELS,
        "[" * _LEVELS,
        "1" * _DIGITS,
        "-" + "9" * _DIGITS,
        "1e" + "9" * 10,
        *("NaN", "Infinity", "-Infinity", "nan", "inf", "1e400", "-0", "0x10", "01", "1."),
        *('"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\x00"', '"\\uD83D\\uDE00"', '""'),
        *("null", "true", "[]", "{}", '"' + "x" * 300 + '"', '{"a":1,"a":2}', "[null]"),
    ]
    bodies = [json.dumps({**fields}).encode()]
    for field in fields:
        whole = {name: json.dumps(text) for name, text in fields.items()}
        for value in values:
            members = {**whole, field: value}
            bodies.append(_object(members))
        bodies.append(_object(whole)[:-1] + f',"{field}":"again"}}'.encode())
    bodies += [b"", b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b'"\xed\xa0\x80"', b"{}", b"[", b'{"a"']
    return bodies


def _object(members: dict[str, str]) -> bytes:
    return ("{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}").encode()


def _choices() -> list[bytes]:
    fields = {"experiment": "spring", "unit": "r-1", "occasion": "mon", "force": "b"}
    more = {"eligible": ["a", "b"], "context": {"age": 7, "tags": ["x"]}}
    return [*_nasty(fields), json.dumps({**fields, **more}).encode(), *_contexts()]


def _contexts() -> list[bytes]:
    values = ("{", "[" * 500 + "]" * 500, '{"a":' + "9" * _DIGITS + "}", '{"a":1,"a":1}', "NaN")
    valid = {"experiment": '"s"', "unit": '"u"'}
    return [_object({**valid, "context": value}) for value in values]


def _rewards() -> list[bytes]:
    fields = {"decision_id": CODEC.encode(decision()), "event": "open", "event_id": "o-1"}
    times = ("2026-11-24T10:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59")
    valued: list[dict[str, Any]] = [{**fields, "value": 1.0, "occurred_at": at} for at in times]
    return [*_nasty({**fields, "occurred_at": times[0]}), *(json.dumps(v).encode() for v in valued)]


def _sends() -> list[bytes]:
    body = {"experiment": "spring", "occasion": "mon", "units": ["r-1", "r-2", "r-1"]}
    return [json.dumps(body).encode(), *_nasty({"experiment": "s", "occasion": "m", "units": "u"})]


def _many_rewards() -> list[bytes]:
    return [b'{"rewards":[' + each + b"," + each + b"]}" for each in _rewards()] + _rewards()


def _queries() -> list[bytes]:
    return [
        b"experiment=spring&unit=r-1&occasion=mon&format=text",
        b"experiment=spring&unit=%F0%9F%98%80&format=json&key=pb_abc",
        *(
            b"experiment=s&unit=" + u
            for u in (b"%ED%A0%80", b"%00", b"+%2B", b"%", b"%zz", b"\xff")
        ),
        *(b"unit=a&unit=b", b"&&&==", b"experiment", b"=" * 50, b"a;b=c", b"format=xml"),
    ]


def _tokens() -> list[bytes]:
    spellings = []
    for source in range(4):
        text = CODEC.encode(decision(source=source, key_id=1 + source % 2)).encode()
        spellings += [text, text[:-1] + b"=", b" " + text, text + b"\n", text[:71], text * 2]
        spellings += [text.replace(b"-", b"+").replace(b"_", b"/"), text[:48] + b"A" * 24]
    return [*spellings, b"\x01" * HEAD_BYTES, b"\xff" * HEAD_BYTES, "é".encode() * 36, b"\0" * 72]


def _keys() -> list[bytes]:
    text = key_text("abcdefgh2345", "A" * 43).encode()
    return [text, text + b"\n", text.upper(), text[:-1], text + b"A", b"pb__", b"", b"\xb2" * 59]


def _credentials() -> list[bytes]:
    basic = base64.b64encode(b"abcdefgh2345:" + b"A" * 43)
    shown = [b"Bearer " + each for each in _keys()] + [b"key=" + each for each in _keys()]
    return [*shown, b"Basic " + basic, b"basic  " + basic[:-2], b"Basic \xff", b"Digest x", b" "]


def _frames() -> list[bytes]:
    reward = Reward(b"k" * 16, "open", "", 1, 1, 1, NOW_MS, 0, 0, False, NOW_MS, NOW_MS)
    records: list[Decision | Reward] = [
        decision(context=b"{}", eligible=(0, 1)),
        reward,
        decision(unit="é" * 100),
    ]
    payloads = [msgspec.msgpack.encode(record) for record in records]
    # Deep nesting behind the last field, which a reader of newer records skips.
    deep = bytes([payloads[1][0] + 1]) + payloads[1][1:] + b"\x91" * _LEVELS + b"\xc0"
    whole = frames_of(records, SEED_OF_FRAMES)
    kept = frames_of([reward, reward], SEED_OF_FRAMES, 2)
    surrogate = payloads[0].replace(b"r-1", b"\xed\xa0\x80")
    return [whole, kept, whole[:-1], b"\0" + whole, *payloads, deep, surrogate, b"\x91" * _LEVELS]


def _replays() -> list[bytes]:
    value = replay_of(decision())
    return [value, value[:-1], value + b"\0", b"", b"\xff" * 20, b"\0" * 20]


_SEEDS = {
    "token": _tokens,
    "key": _keys,
    "credentials": _credentials,
    "choice": _choices,
    "query": _queries,
    "send": _sends,
    "reward": _rewards,
    "rewards": _many_rewards,
    "admin": lambda: _choices() + _rewards(),
    "frames": _frames,
    "replay": _replays,
}
