"""What a process makes of what the replay memory remembers."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from service.decisions.answers import first_answer
from service.domain.decision import replay_of
from service.domain.token import TokenCodec
from tests.store_records import a_decision

CODEC = TokenCodec({1: b"k" * 32}, 1)
CANDIDATE = a_decision(1)


def test_the_first_answer_takes_the_candidates_place() -> None:
    first = replace(CANDIDATE, variant=7, propensity=0.25, version=3)

    assert first_answer(CANDIDATE, replay_of(first), CODEC) == first


@pytest.mark.parametrize("value", [b"", b"x" * 19, b"\xff" * 20, b"\0" * 20])
def test_what_no_answer_can_be_leaves_the_candidate(value: bytes) -> None:
    assert first_answer(CANDIDATE, value, CODEC) == CANDIDATE


@pytest.mark.parametrize("propensity", [0.0, -0.5, 1.5, float("nan"), float("inf")])
def test_an_impossible_propensity_leaves_the_candidate(propensity: float) -> None:
    damaged = replay_of(replace(CANDIDATE, propensity=propensity))

    assert first_answer(CANDIDATE, damaged, CODEC) == CANDIDATE
