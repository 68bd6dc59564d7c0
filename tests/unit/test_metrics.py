"""Metrics count what they are told, and docs/metrics.md lists every one of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from importlib import import_module

from prometheus_client import Metric

from service.metrics import Metrics
from service.metrics.page import EXPERIMENT_LABELS_MAX, Family
from service.metrics.serving import OTHER_EXPERIMENTS, PROMISED_SECONDS, SECONDS_EDGES
from service.sla import OBJECTIVES
from tests.architecture.sources import ROOT

ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \|(?P<labels>[^|]*)\| [^|]+\.[^|]* \|$")

LABEL = re.compile(r"`(\w+)`")


def touched() -> Metrics:
    """Return metrics of which every one has been used once: its labels show only then."""
    metrics = Metrics()
    serve(metrics)
    work(metrics)
    metrics.circuits.watch("redis-replays")(True)
    metrics.flush()
    return metrics


def serve(metrics: Metrics) -> None:
    """Count what API processes do."""
    metrics.decided("spring", "policy", 2)
    metrics.replayed(1)
    metrics.fell_back("redis", 1)
    metrics.rewarded("spring", "accepted", 1)
    metrics.requested("/choose", 200, 0.003)
    metrics.batch_size("choose", 3)
    metrics.service_levels.promise()
    metrics.service_levels.show("POST /choose", {0.5: 0.001}, is_met=True)
    metrics.service_levels.show_window("POST /choose", "1h", 1.0, 1.0)
    metrics.outbox_failed("choice")
    metrics.tables_polled(5_000)
    metrics.reward_arrived(60_000, 1_000)
    metrics.pools.watch("redis", lambda: (1, 10))
    metrics.overload.in_flight("choose", 1, 2)


def work(metrics: Metrics) -> None:
    """Count what the worker does."""
    metrics.outbox_backlog(10, 0.5)
    metrics.drained("decision", 1)
    metrics.committed(0.1, 1)
    metrics.quarantined()
    metrics.damaged(1)
    metrics.ledger_failed()
    metrics.audited(0)
    metrics.restored(7)
    metrics.loop_succeeded("drain", 5_000)
    metrics.loop_failed("drain")
    metrics.allocation_written()
    metrics.allocation_failed()
    metrics.privacy.erasures_pending(1)
    metrics.privacy.rows_wiped("erasure", 2)


def page_families() -> Iterator[Family]:
    """Yield each family of the learning page: the constants of the modules that make them."""
    for path in (ROOT / "service").rglob("*.py"):
        if re.search(r"= Family\(", path.read_text()):
            module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            yield from (each for each in vars(module).values() if isinstance(each, Family))


def exposed_name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def labels_of(metric: Metric) -> list[str]:
    return [label for label in metric.samples[0].labels if label != "le"]


def test_the_catalogue_lists_every_metric_with_its_type_and_labels() -> None:
    lines = (ROOT / "docs" / "metrics.md").read_text().splitlines()
    rows = [found for found in map(ROW.match, lines) if found]
    listed = {row["name"]: (row["type"], LABEL.findall(row["labels"])) for row in rows}

    counted = {
        exposed_name(metric): (metric.type, labels_of(metric))
        for metric in touched().registry.collect()
    }
    written = {each.exposed_name: (str(each.kind), list(each.labels)) for each in page_families()}
    assert listed == counted | written
    assert not counted.keys() & written.keys()


def test_what_requests_count_is_seen_after_a_flush() -> None:
    metrics = Metrics()
    metrics.decided("spring", "policy", 2)
    metrics.decided("spring", "policy", 3)
    labels = {"experiment": "spring", "source": "policy"}
    sample = metrics.registry.get_sample_value
    assert sample("promobandit_decisions_total", labels) is None

    metrics.flush()
    text = metrics.render()

    assert sample("promobandit_decisions_total", labels) == 5
    assert b'promobandit_decisions_total{experiment="spring",source="policy"} 5.0' in text


def test_a_process_that_never_polls_says_nothing_of_when_it_did() -> None:
    metrics = Metrics()
    sample = metrics.registry.get_sample_value
    assert sample("promobandit_tables_polled_timestamp_seconds") is None

    metrics.tables_polled(5_000)

    assert sample("promobandit_tables_polled_timestamp_seconds") == 5.0


def test_failures_are_counted_from_zero() -> None:
    metrics = Metrics()
    metrics.loop_succeeded("drain", 5_000)

    sample = metrics.registry.get_sample_value
    assert sample("promobandit_fallbacks_total", {"reason": "redis"}) == 0
    assert sample("promobandit_outbox_failures_total", {"kind": "reward"}) == 0
    assert sample("promobandit_loop_failures_total", {"loop": "drain"}) == 0


def test_a_circuit_is_a_series_before_it_opens_and_counts_each_opening_once() -> None:
    metrics = Metrics()
    told = metrics.circuits.watch("redis-replays")
    labels = {"circuit": "redis-replays"}
    sample = metrics.registry.get_sample_value

    def shown() -> tuple[float | None, float | None]:
        return (
            sample("promobandit_circuit_open", labels),
            sample("promobandit_circuit_openings_total", labels),
        )

    seen = [shown()]
    for is_open in (True, True, False, True):
        told(is_open)
        seen.append(shown())

    assert seen == [(0, 0), (1, 1), (1, 1), (0, 1), (1, 2)]


async def test_pauses_that_follow_each_other_are_one_opening_that_ends_by_itself() -> None:
    metrics = Metrics()
    labels = {"circuit": "ledger-rewards"}
    sample = metrics.registry.get_sample_value
    for _ in range(3):
        metrics.circuits.paused("ledger-rewards", 0.01)
    was_open = sample("promobandit_circuit_open", labels)
    while sample("promobandit_circuit_open", labels):  # noqa: ASYNC110
        await asyncio.sleep(0.005)

    assert (was_open, sample("promobandit_circuit_openings_total", labels)) == (1, 1)


def test_a_duration_lies_in_the_bucket_of_its_edge() -> None:
    metrics = Metrics()
    for seconds in (0.0004, 0.01, 0.011, 60.0):
        metrics.requested("/choose", 200, seconds)
    metrics.flush()

    def below(edge: str) -> float | None:
        labels = {"route": "/choose", "le": edge}
        return metrics.registry.get_sample_value("promobandit_request_seconds_bucket", labels)

    assert [below(edge) for edge in ("0.0005", "0.01", "0.02", "5.0", "+Inf")] == [1, 2, 3, 3, 4]
    total = metrics.registry.get_sample_value(
        "promobandit_request_seconds_sum", {"route": "/choose"}
    )
    assert total == 60.0214


def test_each_time_promised_of_a_request_is_an_edge() -> None:
    assert {0.01, 0.1, 0.5, 2.0} <= PROMISED_SECONDS <= set(SECONDS_EDGES)
    assert {each.threshold_ms / 1_000 for each in OBJECTIVES} <= PROMISED_SECONDS


def test_experiments_beyond_the_limit_share_one_label() -> None:
    metrics = Metrics()
    for number in range(EXPERIMENT_LABELS_MAX + 2):
        metrics.decided(f"e{number}", "policy", 1)
    metrics.flush()

    sample = metrics.registry.get_sample_value
    labels = {"experiment": OTHER_EXPERIMENTS, "source": "policy"}
    assert sample("promobandit_decisions_total", labels) == 2
