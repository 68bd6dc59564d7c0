"""The verdict of a load test names what was not kept, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.connections import NO_ANSWER
from loadtests.load.verdict import Findings, Growth, figures_of, reasons
from loadtests.open_loop import Answered
from service.sla import OBJECTIVES

SECONDS = 10.0
QUICK = 0.001
WORKER = Growth("worker", 1e8, 1e8, 50, 50)


def answers(*others: Answered) -> list[Answered]:
    """Return 2,000 quick answers of every route, and some others."""
    quick = [
        Answered(0.0, QUICK, 200, objective.name) for objective in OBJECTIVES for _ in range(2_000)
    ]
    return [*quick, *others]


def findings(*others: Answered) -> Findings:
    return Findings(
        figures_of(answers(*others), SECONDS),
        is_timed=True,
        sender_late_p99_ms=0.1,
        decisions=10_000.0,
        fallbacks=0.0,
        server_verdicts={objective.name: "met" for objective in OBJECTIVES},
        audit_difference=0.0,
        ledger_seconds=1.0,
    )


def choices(count: int, latency: float = QUICK, status: int = 200) -> list[Answered]:
    return [Answered(0.0, latency, status, "POST /choose") for _ in range(count)]


def test_a_run_without_a_fault_passes() -> None:
    assert reasons(findings()) == []


def test_figures_are_those_of_the_answers() -> None:
    latencies = [number / 1_000 for number in range(1, 101)]  # 1 to 100 ms.
    seen = [Answered(0.0, latency, 200, "POST /choose", fallbacks=1) for latency in latencies]

    (figures,) = figures_of([*seen, *choices(100, status=503)], SECONDS)

    assert (figures.requests, figures.rate) == (200, 20.0)
    assert (figures.bad, figures.errors, figures.refused) == (100, 100, 0)
    assert (figures.p50_ms, figures.p95_ms, figures.p99_ms) == (1.0, 91.0, 99.0)
    assert (figures.good_share, figures.fallback_share) == (0.5, 0.5)


def test_two_errors_in_two_thousand_are_kept_and_three_are_not() -> None:
    kept = findings(*choices(2, status=503))
    broken = findings(*choices(1, status=503), *choices(2, 10.0, NO_ANSWER))

    assert reasons(kept) == []
    assert reasons(broken)[0].startswith("POST /choose: 99.8502% good, 99.9% is promised (3 errors")


def test_an_answer_behind_the_threshold_is_as_bad_as_an_error() -> None:
    late = findings(*choices(3, 0.501))

    assert late.routes[0].bad == 3
    assert "3 later than 500 ms" in reasons(late)[0]


def test_a_tail_over_the_promised_p99_breaks_it() -> None:
    found = reasons(findings(*choices(21, 0.011)))

    assert found == ["POST /choose: p99 11.0 ms, 10 ms is promised"]


def test_times_are_not_judged_where_anything_else_may_run() -> None:
    slow = replace(
        findings(*choices(500, 0.6)),
        is_timed=False,
        sender_late_p99_ms=50.0,
        server_verdicts={"POST /choose": "broken"},
        fallbacks=5_000.0,
    )

    assert reasons(slow) == []
    assert len(reasons(replace(slow, fallbacks=5_001.0))) == 1
    assert reasons(replace(slow, routes=slow.routes[1:])) == ["POST /choose was never asked"]


def test_a_refusal_is_a_fault_of_the_load_itself() -> None:
    found = reasons(findings(*choices(1, status=422)))

    assert found == ["POST /choose: 1 requests of the load were refused with a 4xx"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sender_late_p99_ms": 9.0}, "the sender itself was 9.0 ms late"),
        ({"server_verdicts": {"reports": "broken"}}, "GET /sla says that reports is broken"),
        ({"fallbacks": 11.0}, "0.11% of the choices were answered without Redis"),
        ({"decisions": 0.0}, "the service counted no decision"),
        ({"audit_difference": 2.0}, "the audit found 2 differences"),
        ({"ledger_seconds": None}, "the ledger had not everything after 60 s"),
        ({"user_failures": ["GET /readyz: 503"]}, "a user of the load found: GET /readyz: 503"),
        ({"growth": [WORKER, Growth("api", 1e8, 1.021e8, 50, 50)]}, "memory of api grew by 2.1%"),
        ({"growth": [WORKER, Growth("api", 1e8, 1e8, 50, 51)]}, "descriptors of api grew from 50"),
        ({"growth": [WORKER]}, "nobody saw how much memory api took"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_everything_else_that_is_not_as_promised_is_named(
    changed: dict[str, object], reason: str
) -> None:
    (found,) = reasons(replace(findings(), **changed))  # type: ignore[arg-type]

    assert found.startswith(reason)


def test_growth_within_its_bound_and_an_audit_elsewhere_are_no_reasons() -> None:
    grown = [WORKER, Growth("api", 1e8, 1.019e8, 50, 49)]

    assert reasons(replace(findings(), growth=grown, audit_difference=None)) == []
