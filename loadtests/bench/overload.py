"""Three times what the service can do, and what becomes of it: goodput, patience, recovery."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

from loadtests.bench.figures import Figure
from loadtests.bench.run import Run
from loadtests.client import batch_body
from loadtests.open_loop import (
    OK,
    Answered,
    answered_loop,
    closed_loop,
    http_request,
    percentile,
)
from loadtests.servers import Service
from service.sla import OVERLOAD_P99_MS, OVERLOAD_RECOVERY_SECONDS_MAX

EXPERIMENT = "load-0000"
UNITS = 200  # Of a call, so that one core can offer three times what another can answer.
CALLERS = 8  # Enough to keep the service busy, few enough to keep each waiting shortly.
PEAK_SECONDS = 10.0
OVERLOAD_SECONDS = 60.0
AFTER_SECONDS = 20.0
FACTOR = 3.0
FACTOR_AFTER = 0.5
GOODPUT_MIN = 0.8
OVERLOADED = 503
CONNECTIONS = 800  # More than the service lets in at once, so that it is the one who refuses.
OCCASION = "0123456789"  # As long as those that replace it.


def measure_overload(run: Run) -> list[Figure]:
    """Find the peak in a closed loop, offer three times as much, then half of it."""
    with run.site() as site:
        service = site.service()
        service.client.put_experiment(EXPERIMENT)
        peak = _peak(service, run.size(int(PEAK_SECONDS)))
        seconds = OVERLOAD_SECONDS / 10 if run.is_quick else OVERLOAD_SECONDS
        # An open loop costs the machine more than few callers who wait for one another, and the
        # two cores of a small machine are often one core's two threads: told, and not judged.
        offered = _goodput(_offered(service, peak, run.size(int(PEAK_SECONDS)), "3"))
        run.say(f"overload: {FACTOR:g} x {peak:,.0f} calls of {UNITS} for {seconds:g} s")
        during = _offered(service, FACTOR * peak, seconds, "1")
        ended = time.perf_counter()
        after = _offered(service, FACTOR_AFTER * peak, AFTER_SECONDS, "2")
        gap = time.perf_counter() - ended - AFTER_SECONDS  # Connecting takes a moment.
    found = _figures(peak, during, seconds, _recovery(after) + max(0.0, gap))
    by_offered = _goodput(during) / seconds / (offered / run.size(int(PEAK_SECONDS)))
    name = f"/choose/batch of {UNITS} at {FACTOR:g} x capacity, goodput by that of 1 x"
    return [*found, Figure(name, by_offered, "x")]


def _figures(
    peak: float, during: Sequence[Answered], seconds: float, recovery: float
) -> list[Figure]:
    accepted = [answer.latency for answer in during if answer.status == OK]
    refused = [answer.latency for answer in during if answer.status == OVERLOADED]
    others = len(during) - len(accepted) - len(refused)
    name = f"/choose/batch of {UNITS} at {FACTOR:g} x capacity"
    goodput = len(accepted) / seconds
    note = f"{goodput:,.0f} of {peak:,.0f} calls a second"
    p99_refused = percentile(refused or [0.0], 0.99) * 1_000
    return [
        Figure(f"{name}, goodput by the peak", goodput / peak, "x", ">=", GOODPUT_MIN, note),
        Figure(
            f"{name}, p99 of what was let in",
            percentile(accepted, 0.99) * 1_000,
            "ms",
            "<=",
            OVERLOAD_P99_MS,
            f"refusals {p99_refused:.0f} ms",
        ),
        Figure(f"{name}, answers that are neither 200 nor 503", others, "", "<=", 0),
        Figure(
            f"from the end of the overload to all answered in time, at {FACTOR_AFTER:g} x",
            recovery,
            "s",
            "<=",
            OVERLOAD_RECOVERY_SECONDS_MAX,
        ),
    ]


def _peak(service: Service, seconds: float) -> float:
    """Return how many calls a second a few callers get answered, each after the other."""
    port = int(service.url.rpartition(":")[2])
    answers = _apart(_asked_in_turn, port, seconds, "0")
    return _goodput(answers) / seconds


def _asked_in_turn(port: int, seconds: float, tag: str) -> list[Answered]:
    return closed_loop(port, CALLERS, seconds, _request(tag))


def _goodput(answers: Sequence[Answered]) -> int:
    return sum(answer.status == OK for answer in answers)


def _offered(service: Service, rate: float, seconds: float, tag: str) -> list[Answered]:
    port = int(service.url.rpartition(":")[2])
    return _apart(_sent, port, rate, seconds, tag)


def _sent(port: int, rate: float, seconds: float, tag: str) -> list[Answered]:
    return answered_loop(port, rate, seconds, _request(tag), CONNECTIONS)


def _apart(load: Callable[..., list[Answered]], *arguments: float | str) -> list[Answered]:
    """Run a load in a process of its own: a sender that is late would be what it measures."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(load, *arguments).result()


def _request(tag: str) -> Callable[[int], bytes]:
    """Return what makes the calls: the same units, each time on another occasion."""
    units = (f"recipient-{number:06d}" for number in range(UNITS))
    whole = http_request("/choose/batch", batch_body(EXPERIMENT, OCCASION, units))
    before, _, behind = whole.partition(OCCASION.encode())
    width = len(OCCASION) - len(tag)

    def request(number: int) -> bytes:
        return before + tag.encode() + b"%0*d" % (width, number) + behind

    return request


def _recovery(after: Sequence[Answered]) -> float:
    """Return when the last second began in which somebody was refused or waited too long."""
    bad = [
        answer.meant_at
        for answer in after
        if answer.status != OK or answer.latency * 1_000 > OVERLOAD_P99_MS
    ]
    return max(bad, default=0.0)
