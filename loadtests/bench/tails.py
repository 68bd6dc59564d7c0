"""The tail of /choose in an open loop at half its saturation, against the floor's at that rate."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from statistics import median

from loadtests.bench.figures import Figure
from loadtests.bench.run import Run
from loadtests.open_loop import http_request, open_loop, percentile
from loadtests.servers import Service
from service.sla import CHOOSE_P99_MS

ROUNDS = 5
SECONDS = 4.0
P99_RATIO_MAX = 4.0
SENDER_NICENESS = 5  # Between Redis (0) and the worker (10).


def open_loop_figures(run: Run, service: Service, floor_url: str, rate: float) -> list[Figure]:
    """Measure the service and the floor in turn, at the same absolute rate."""
    seconds = SECONDS / 4 if run.is_quick else SECONDS
    rounds = 1 if run.is_quick else ROUNDS
    run.say(f"choose: open loop at {rate:,.0f} a second, {rounds} rounds of {seconds:g} s")
    service_p99s, floor_p99s = [], []
    for number in range(rounds + 1):
        tag = f"open{number:02d}-"
        of_service = _p99_ms(service.url, rate, seconds, tag)
        of_floor = _p99_ms(floor_url, rate, seconds, tag)
        if number > 0:  # The first is the warm-up.
            service_p99s.append(of_service)
            floor_p99s.append(of_floor)
    ratio = median(a / b for a, b in zip(service_p99s, floor_p99s, strict=True))
    name = "/choose p99, open loop at half its saturation"
    note = f"floor {median(floor_p99s):.2f} ms; {rate:,.0f} a second"
    return [
        Figure(f"{name}, by the floor's", ratio, "x", "<=", P99_RATIO_MAX),
        Figure(name, median(service_p99s), "ms", "<=", CHOOSE_P99_MS, note),
    ]


def _p99_ms(url: str, rate: float, seconds: float, tag: str) -> float:
    port = int(url.rpartition(":")[2])
    # In a process of its own that steps back behind Redis, which shares its core: a sender that
    # is busy half of the time would else be most of the latency that it measures.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, context, initializer=os.nice, initargs=(SENDER_NICENESS,)) as pool:
        return pool.submit(_measured, port, rate, seconds, tag).result()


def _measured(port: int, rate: float, seconds: float, tag: str) -> float:
    return percentile(open_loop(port, rate, seconds, _request(tag)), 0.99) * 1_000


def _request(tag: str) -> Callable[[int], bytes]:
    def request(number: int) -> bytes:
        body = b'{"experiment":"load-0000","unit":"%s%09d","occasion":"2026-11-24"}'
        return http_request("/choose", body % (tag.encode(), number))

    return request
