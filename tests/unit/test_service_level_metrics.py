"""Answers are counted as good or bad by what `service.sla` promises of their route."""

from __future__ import annotations

from itertools import pairwise

import pytest

from service.domain.service_levels import Bucket
from service.metrics import ABOVE_US, EDGES_US, Metrics
from service.sla import OBJECTIVES

REPORT = "/experiments/{experiment_id}/report"


@pytest.mark.parametrize(
    ("method", "route", "status", "seconds", "counted"),
    [
        ("POST", "/choose", 200, 0.5, Bucket("POST /choose", False, 500_000)),
        ("POST", "/choose", 200, 0.5001, Bucket("POST /choose", True, 562_341)),
        ("GET", "/choose", 200, 0.5001, Bucket("GET /choose", False, 562_341)),
        ("POST", "/choose", 503, 0.00005, Bucket("POST /choose", True, 100)),
        ("POST", "/choose", 429, 0.00005, Bucket("POST /choose", False, 100)),
        ("POST", "/reward/batch", 408, 11.0, Bucket("POST /reward/batch", False, ABOVE_US)),
        ("POST", "/reward", 202, 2.1, Bucket("POST /reward", True, 2_154_435)),
        ("GET", REPORT, 200, 1.99, Bucket("reports", False, 2_000_000)),
        ("GET", REPORT + ".csv", 503, 1.99, Bucket("reports", True, 2_000_000)),
        ("PUT", "/choose", 405, 0.001, None),
        ("", "unmatched", 503, 0.0, None),
        ("GET", "/experiments/{experiment_id}/decisions.csv", 200, 9.0, None),
    ],
)
def test_an_answer_counts_by_its_route_status_and_time(
    method: str, route: str, status: int, seconds: float, counted: Bucket | None
) -> None:
    metrics = Metrics()
    metrics.requested(route, status, seconds, method)

    assert metrics.service_levels.take() == ({} if counted is None else {counted: 1})


def test_what_was_taken_is_not_taken_again_and_stays_in_the_counter() -> None:
    metrics = Metrics()
    metrics.service_levels.promise()
    for status in (200, 200, 500):
        metrics.requested("/choose", status, 0.001, "POST")
    metrics.flush()

    taken = [sum(metrics.service_levels.take().values()) for _ in range(2)]

    def total(route: str, verdict: str) -> float | None:
        labels = {"route": route, "verdict": verdict}
        return metrics.registry.get_sample_value("promobandit_sla_requests_total", labels)

    assert taken == [3, 0]
    assert (total("POST /choose", "good"), total("POST /choose", "bad")) == (2, 1)
    assert total("reports", "bad") == 0  # A series before its first failure.


def test_made_up_methods_are_not_remembered() -> None:
    levels = Metrics().service_levels
    for number in range(100):
        levels.answered(f"M{number}", "/choose", 405, 0.001)

    assert levels._by_route == {}


def test_every_promised_time_is_an_edge_and_edges_are_close() -> None:
    promised = {o.threshold_ms for o in OBJECTIVES} | {o.p99_ms for o in OBJECTIVES if o.p99_ms}
    steps = [b / a for a, b in pairwise(EDGES_US)]

    assert {ms * 1_000 for ms in promised} <= set(EDGES_US)
    assert max(steps) < 1.22
