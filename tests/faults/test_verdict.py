"""The judge of the laboratory finds what is lost, counted twice, or slow to recover."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import Any

import pytest
from msgspec.structs import replace

from service.domain.allocation import EffectiveEvidence
from tests.faults.compare import allocation_otherwise, evidence_otherwise, told_otherwise
from tests.faults.conduct import Rules, rewards_recovery, wrong
from tests.faults.load import Attempt, Decided, Load, Rewarded
from tests.faults.memory import judged
from tests.faults.scenario import Outcome, Scenario
from tests.faults.verdict import Books, converted_of, lost_of, recovery, served, twice_of
from tests.sql_stores import allocation, experiment

FIRST, SECOND = "A" * 72, "B" * 72
BESIDE = FIRST[:30] + "C" * 42  # Another answer to the same send: ids begin with its key.


def a_load(*ids: str, rewarded: tuple[str, ...] = ()) -> Load:
    load = Load([], "spring")
    load.decided += [Decided(each, f"u-{each[0]}", "a", 0.5, "policy", 1, 0.0) for each in ids]
    load.rewarded += [Rewarded(each, "e", 200, "accepted", 0.0) for each in rewarded]
    load.sent |= {(each, "e") for each in rewarded}
    return load


def a_row(decision_id: str, rewards: int = 0, *, counted: bool = True) -> dict[str, Any]:
    return {
        "decision_id": decision_id,
        "unit": f"u-{decision_id[0]}",
        "occasion": "o",
        "counted": counted,
        "variant": "a",
        "propensity": 0.5,
        "source": "policy",
        "allocation_version": 1,
        "rewards": [{"status": "accepted"}] * rewards,
    }


def choices(*attempts: tuple[float, float, int, str]) -> list[Attempt]:
    return [Attempt("choose", began, ms, status, source) for began, ms, status, source in attempts]


def test_a_decision_in_no_row_is_lost() -> None:
    assert lost_of(a_load(FIRST, SECOND), [a_row(FIRST)], []) == (1, 0)


def test_an_answer_that_is_kept_beside_is_not_lost() -> None:
    rows = [a_row(FIRST), a_row(BESIDE, counted=False)]

    assert lost_of(a_load(FIRST, BESIDE), rows, []) == (0, 0)


def test_a_reward_that_is_not_in_sql_is_lost() -> None:
    assert lost_of(a_load(FIRST, rewarded=(FIRST,)), [a_row(FIRST)], []) == (0, 1)


def test_another_event_of_the_same_decision_does_not_stand_for_the_lost_one() -> None:
    rewarded = a_load(FIRST, rewarded=(FIRST,))

    assert lost_of(rewarded, [a_row(FIRST, 1)], [(FIRST, "another")]) == (0, 1)


def test_a_reward_may_stand_with_another_answer_to_its_send() -> None:
    rows = [a_row(FIRST, rewards=1), a_row(BESIDE, counted=False)]

    assert lost_of(a_load(FIRST, BESIDE, rewarded=(BESIDE,)), rows, [(FIRST, "e")]) == (0, 0)


def test_a_send_that_is_counted_in_two_rows_is_twice() -> None:
    assert twice_of(a_load(FIRST), [a_row(FIRST), a_row(BESIDE)], []) == 1


def test_a_reward_that_stands_twice_or_was_never_sent_is_twice() -> None:
    found = [(FIRST, "e"), (FIRST, "e"), (FIRST, "another")]

    assert twice_of(a_load(FIRST, rewarded=(FIRST,)), [a_row(FIRST)], found) == 2


def test_a_send_converts_once_whichever_of_its_answers_is_rewarded() -> None:
    rows = [a_row(FIRST), a_row(BESIDE, rewards=1, counted=False), a_row(SECOND, rewards=2)]

    assert converted_of(rows) == {FIRST[:21], SECOND[:21]}
    assert converted_of([*rows, a_row(FIRST, rewards=1)]) == converted_of(rows)


@pytest.mark.parametrize(
    ("source", "replayed", "told", "found"),
    [
        ("policy", True, FIRST, (0, 0)),
        ("fallback", True, FIRST, (0, 0)),
        ("policy", True, SECOND, (1, 0)),
        ("fallback", True, SECOND, (1, 0)),
        ("policy", False, SECOND, (1, 0)),
        ("fallback", False, SECOND, (0, 1)),
    ],
)
def test_another_answer_of_redis_is_forgotten_and_one_without_it_is_not(
    source: str, replayed: bool, told: str, found: tuple[int, int]
) -> None:
    again = {"decision_id": told, "source": source, "replayed": replayed}

    assert judged([FIRST], [again]) == found


@pytest.mark.parametrize(
    ("column", "recorded"),
    [("variant", "b"), ("propensity", 0.25), ("source", "fallback"), ("allocation_version", 2)],
)
def test_a_row_that_says_something_else_than_callers_were_told_is_found(
    column: str, recorded: object
) -> None:
    row = {**a_row(FIRST), column: recorded}

    assert told_otherwise(a_load(FIRST, SECOND), [row, a_row(SECOND)]) == [
        f"1 decisions were told another {column}"
    ]


def test_an_id_that_was_told_with_two_sources_stands_with_one_of_them() -> None:
    load = a_load(FIRST)
    load.decided.append(dataclasses.replace(load.decided[0], source="fallback"))

    assert told_otherwise(load, [a_row(FIRST)]) == []
    assert told_otherwise(load, [{**a_row(FIRST), "source": "forced"}]) != []


def test_each_thing_that_went_wrong_breaks_the_row() -> None:
    scenario = Scenario(name="nothing", fault=lambda _: nullcontext())
    service = served(choices((0.1, 1.0, 200, "policy")), 0.0, 1.0)
    books = Books(lost=1, twice=2, differences=("weights differ",))
    outcome = Outcome(scenario, service, books, ("no fault",), 1.0, ("1 x 404",), 3)

    assert outcome.broken(is_timed=False) == [
        *("no fault", "weights differ", "1 lost", "2 twice", "3 requests given up", "1 x 404")
    ]


def test_weights_that_differ_under_the_same_version_are_found() -> None:
    recorded = allocation(experiment(), 3)

    found = allocation_otherwise(replace(recorded, weights=(2**30, 3 * 2**30)), recorded)

    assert [each.split(" in Redis")[0] for each in found] == ["weights"]


@pytest.mark.parametrize(
    "published",
    [
        EffectiveEvidence(3, (9.0, 5.0), (1.0, 2.0)),
        EffectiveEvidence(4, (8.0, 5.0), (1.0, 2.0)),
        EffectiveEvidence(4, (9.0, 5.0), (1.0, 1.0)),
        EffectiveEvidence(4, (9.0,), (1.0, 2.0)),
    ],
)
def test_evidence_that_is_not_the_reports_is_found(published: EffectiveEvidence) -> None:
    lines = [(9.0, 1.0), (5.0, 2.0)]
    variants = [{"effective_pulls": n, "effective_rewards": k} for n, k in lines]
    report = {"evidence_revision": 4, "variants": variants}

    assert len(evidence_otherwise(published, report)) == 1
    assert evidence_otherwise(EffectiveEvidence(4, (9.0, 5.0), (1.0, 2.0)), report) == []


def test_recovery_ends_with_the_last_answer_that_is_not_as_before() -> None:
    slow, refused, fallback = (
        (1.0, 300.0, 200, "policy"),
        (1.5, 1.0, 503, ""),
        (2.0, 1.0, 200, "fallback"),
    )
    good = [(2.0 + i / 10, 1.0, 200, "policy") for i in range(1, 12)]

    assert recovery(choices(slow, refused, fallback, *good), 1.0) == 1.0


def test_nobody_has_recovered_before_a_whole_second_was_good() -> None:
    assert recovery(choices(*((i / 10, 1.0, 200, "policy") for i in range(9))), 0.0) is None


def test_what_was_refused_late_or_unanswered_is_not_within_the_time() -> None:
    attempts = choices(
        (0.1, 1.0, 200, "policy"),
        (0.2, 251.0, 200, "policy"),
        (0.3, 1.0, 503, "overloaded"),
        (0.4, 2_000.0, 0, ""),
    )

    found = served(attempts, 0.0, 1.0)

    assert (found.availability, found.within) == (0.5, 0.25)


def test_what_was_under_way_when_the_fault_began_belongs_to_it() -> None:
    under_way, over = (0.5, 600.0, 503, "overloaded"), (0.5, 400.0, 503, "overloaded")

    assert served(choices(under_way, over), 1.0, 2.0).choices == 1


RULES = Rules(choose=(200,), reward=(200, 202, 410), seconds_after=5.0)


def a_reward(began: float, status: int, ms: float = 1.0) -> Attempt:
    return Attempt("reward", began, ms, status, "token-unknown" if status >= 400 else "")


@pytest.mark.parametrize(
    ("attempt", "found"),
    [
        (a_reward(1.5, 202), []),
        (a_reward(6.5, 202), []),
        (a_reward(7.5, 202), ["1 x 202 to reward outside of the fault"]),
        (a_reward(0.5, 202), ["1 x 202 to reward outside of the fault"]),
        (a_reward(0.5, 202, ms=600.0), []),
        (a_reward(0.5, 410), []),
        (a_reward(1.5, 404), ["1 x 404 token-unknown to reward"]),
        (a_reward(9.5, 404), ["1 x 404 token-unknown to reward outside of the fault"]),
        (a_reward(9.5, 0), ["1 x no answer to reward outside of the fault"]),
        (Attempt("choose", 0.1, 1.0, 503, "x"), ["1 x 503 x to choose outside of the fault"]),
        (Attempt("choose", 1.1, 1.0, 503, "overloaded"), ["1 x 503 overloaded to choose"]),
    ],
)
def test_every_attempt_of_the_run_is_judged(attempt: Attempt, found: list[str]) -> None:
    assert wrong([attempt], RULES, 1.0, 2.0) == found


def test_rewards_are_back_when_a_second_of_them_was_recorded_at_once() -> None:
    attempts = [a_reward(2.5, 202), *(a_reward(2.5 + i / 10, 200) for i in range(1, 12))]

    assert rewards_recovery(attempts, 2.0, (200, 202), 1.0) == 0.5
    assert rewards_recovery(attempts[:5], 2.0, (200, 202), 1.0) is None
