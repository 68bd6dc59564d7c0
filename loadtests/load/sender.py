"""The open-loop sender: every route at its set times, in a process of its own, on its own core."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import merge

from loadtests.client import batch_body
from loadtests.connections import Address
from loadtests.load.experiments import CLICK, CONVERSION
from loadtests.load.shapes import SENDER_REWARDS, SENDER_UNITS, Shape
from loadtests.open_loop import Answered, Planned, http_request, planned_loop

TIMEOUT_SECONDS = 10.0  # Who waits so long is gone.
CONVERSIONS_EVERY = 20  # One reward in so many converts; the others are clicks.
SPREAD = 0.618_034  # Streams begin at different moments, so that they do not meet each second.


@dataclass(frozen=True, slots=True)
class Target:
    """Whom the sender asks, and for what."""

    address: Address
    experiment: str
    key: str = ""
    decision_ids: Sequence[str] = ()  # To reward, one after the other.


def plan(shape: Shape, seconds: float, target: Target) -> Iterator[Planned]:
    """Yield every request of a run in order of time."""
    streams = [
        _stream(route, _times(shape, rate, seconds, SPREAD * (number + 1) % 1), target)
        for number, (route, rate) in enumerate(shape.rates().items())
    ]
    return merge(*streams, key=lambda planned: planned.meant_at)


def decisions_needed(shape: Shape, seconds: float) -> int:
    """Return how many decisions a run rewards."""
    rates = shape.rates()
    singles = sum(1 for _ in _times(shape, rates["POST /reward"], seconds, 0.0))
    batches = sum(1 for _ in _times(shape, rates["POST /reward/batch"], seconds, 0.0))
    return singles + batches * SENDER_REWARDS


@contextmanager
def sending(
    shape: Shape, seconds: float, target: Target, core: int | None
) -> Iterator[Future[list[Answered]]]:
    """Send in a process of its own: a sender that is late would be what it measures."""
    context = multiprocessing.get_context("fork")
    cores = {core} if core is not None else os.sched_getaffinity(0)
    pool = ProcessPoolExecutor(1, context, initializer=_take, initargs=(cores,))
    with pool:
        yield pool.submit(_sent, shape, seconds, target)


def _take(cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)


def _sent(shape: Shape, seconds: float, target: Target) -> list[Answered]:
    return planned_loop(target.address, plan(shape, seconds, target), TIMEOUT_SECONDS)


def _times(shape: Shape, rate: float, seconds: float, begin: float) -> Iterator[float]:
    """Yield when the requests of one stream are to leave; `begin` is a share of one interval."""
    at = begin / (rate * shape.factor(0.0))
    while at < seconds:
        yield at
        at += 1 / (rate * shape.factor(at / seconds))


def _stream(route: str, times: Iterator[float], target: Target) -> Iterator[Planned]:
    messages = _MESSAGES[route](target)
    for at in times:
        yield Planned(at, next(messages), route)


def _posts(target: Target) -> Iterator[bytes]:
    body = b'{"experiment":"%s","unit":"post-%09d","occasion":"load"}'
    experiment, number = target.experiment.encode(), 0
    while True:
        yield http_request("/choose", body % (experiment, number), key=target.key)
        number += 1


def _gets(target: Target) -> Iterator[bytes]:
    number = 0
    while True:
        path = f"/choose?experiment={target.experiment}&unit=get-{number:09d}&occasion=load"
        yield http_request(path, method="GET", key=target.key)
        number += 1


def _batches(target: Target) -> Iterator[bytes]:
    units = [f"batch-{number:06d}" for number in range(SENDER_UNITS)]
    number = 0
    while True:
        body = batch_body(target.experiment, f"batch-{number}", units)
        yield http_request("/choose/batch", body, key=target.key)
        number += 1


def _rewards(target: Target) -> Iterator[bytes]:
    for number, decision_id in enumerate(target.decision_ids[::-1]):
        body = json.dumps(_reward(number, decision_id)).encode()
        yield http_request("/reward", body, key=target.key)


def _reward_batches(target: Target) -> Iterator[bytes]:
    # From the other end than the single ones: there are as many as both need together.
    ids = target.decision_ids
    for first in range(0, len(ids), SENDER_REWARDS):
        rewards = [_reward(i, each) for i, each in enumerate(ids[first : first + SENDER_REWARDS])]
        body = json.dumps({"rewards": rewards}).encode()
        yield http_request("/reward/batch", body, key=target.key)


def _reward(number: int, decision_id: str) -> Mapping[str, str]:
    event = CLICK if number % CONVERSIONS_EVERY else CONVERSION
    return {"decision_id": decision_id, "event": event}


def _reports(target: Target) -> Iterator[bytes]:
    pages = ("report", "report.csv")
    number = 0
    while True:
        path = f"/experiments/{target.experiment}/{pages[number % len(pages)]}"
        yield http_request(path, method="GET", key=target.key)
        number += 1


_MESSAGES = {
    "POST /choose": _posts,
    "GET /choose": _gets,
    "POST /choose/batch": _batches,
    "POST /reward": _rewards,
    "POST /reward/batch": _reward_batches,
    "reports": _reports,
}
