"""The decision id: signed, canonical, 72 characters."""

import pytest

from service.domain.decision import EPOCH_MS, Decision, Source, replay_of, unpack_replay
from service.domain.token import TOKEN_LENGTH, TokenCodec

CODEC = TokenCodec({1: b"a" * 32, 2: b"b" * 32}, 2)


def decision(**changes: object) -> Decision:
    fields: dict[str, object] = {
        "key": bytes(range(16)),
        "tenant": 1,
        "experiment": 70_000,
        "variant": 999,
        "propensity": 1 / 3,
        "source": int(Source.policy),
        "holdout": True,
        "version": 4_000_000_000,
        "key_id": 2,
        "decided_at_ms": 1_795_000_000_123,
        "unit": "u",
        "occasion": "o",
    }
    return Decision(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_token_carries_the_decision() -> None:
    token = CODEC.encode(decision())
    claim = CODEC.decode(token)

    assert len(token) == TOKEN_LENGTH
    assert claim is not None
    assert (claim.key, claim.tenant, claim.experiment) == (bytes(range(16)), 1, 70_000)
    assert (claim.variant, claim.version, claim.key_id) == (999, 4_000_000_000, 2)
    assert (claim.decided_at_ms, claim.holdout, claim.is_counted) == (1_795_000_000_123, True, True)


def test_a_token_needs_no_quoting_in_a_url() -> None:
    token = CODEC.encode(decision(key=b"\xff" * 16))

    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_any_changed_character_is_refused() -> None:
    token = CODEC.encode(decision())
    changed = [
        token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(TOKEN_LENGTH)
    ]

    assert [CODEC.decode(spelling) for spelling in changed] == [None] * TOKEN_LENGTH


@pytest.mark.parametrize(
    "spell",
    [
        lambda t: t + "A",
        lambda t: t[:-1],
        lambda t: t + "=",
        lambda t: " " + t,
        lambda t: t + "\n",
        lambda t: t.replace("-", "+").replace("_", "/"),
        lambda t: t[:-1] + "=",
        lambda _: "é" * TOKEN_LENGTH,
        lambda _: "",
    ],
)
def test_other_spellings_are_refused(spell: object) -> None:
    token = CODEC.encode(decision(key=b"\xff\xef\xbe" * 5 + b"\xff"))

    assert "-" in token or "_" in token
    assert CODEC.decode(spell(token)) is None  # type: ignore[operator]


def test_a_token_of_an_older_key_still_verifies() -> None:
    older = TokenCodec({1: b"a" * 32}, 1).encode(decision(key_id=1))

    assert CODEC.decode(older) is not None


def test_a_token_of_a_foreign_key_is_refused() -> None:
    foreign = TokenCodec({2: b"x" * 32}, 2).encode(decision())
    unknown = TokenCodec({9: b"x" * 32}, 9).encode(decision(key_id=9))

    assert CODEC.decode(foreign) is None
    assert CODEC.decode(unknown) is None


@pytest.mark.parametrize("source", [Source.forced, Source.inactive])
def test_a_token_says_when_its_decision_is_not_counted(source: Source) -> None:
    claim = CODEC.decode(CODEC.encode(decision(source=int(source))))

    assert claim is not None
    assert not claim.is_counted


@pytest.mark.parametrize("source", list(Source))
@pytest.mark.parametrize("holdout", [True, False])
@pytest.mark.parametrize("at_ms", [EPOCH_MS, 1_795_000_000_123, EPOCH_MS + 2**40 - 1])
def test_twenty_bytes_hold_all_that_a_replay_needs(
    source: Source,
    holdout: bool,
    at_ms: int,
) -> None:
    made = decision(source=int(source), holdout=holdout, decided_at_ms=at_ms, key_id=31)
    value = replay_of(made)
    replay = unpack_replay(value)

    assert len(value) == 20
    assert (replay.variant, replay.decided_at_ms, replay.version) == (999, at_ms, 4_000_000_000)
    assert (replay.propensity, replay.holdout, replay.source, replay.key_id) == (
        1 / 3,
        holdout,
        int(source),
        31,
    )
