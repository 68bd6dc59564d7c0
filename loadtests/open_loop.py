"""An open-loop load generator: requests leave at set times, whatever became of those before.

A latency counts from the time a request was *meant* to leave, so a server that stalls pays for
everybody who would have come meanwhile (no coordinated omission). This is a plain epoll loop and
not asyncio, whose timers, uvloop's too, are no finer than a millisecond.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import perf_counter

from loadtests.connections import NO_ANSWER, Address, Outcome, Pool, Request

# Enough for ten thousand requests a second at 20 ms each; more wait for a free connection.
CONNECTIONS = 256
DRAIN_SECONDS_MAX = 5.0
LOOK_SECONDS = 0.1  # How often it is looked for requests that waited too long.
OK = 200
FALLBACK = b'"source":"fallback"'  # A choice that was answered without Redis.


class OpenLoopError(RuntimeError):
    """The load did not go as planned, so its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A request and when it is to leave, in seconds from the start of the load."""

    meant_at: float
    message: bytes
    route: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """When a request was meant to leave, how long its answer took from then on, and which it was.

    Times are in seconds, the first from the start of the load. `late` is how much later than meant
    the request left: what the sender itself, or its want of connections, adds to the latency. The
    status is `NO_ANSWER` when none came in time; `fallbacks` counts the choices in the answer that
    were made without Redis.
    """

    meant_at: float
    latency: float
    status: int
    route: str = ""
    late: float = 0.0
    fallbacks: int = 0


@dataclass(slots=True)
class _Run:
    pool: Pool
    timeout: float = inf
    started: float = field(default_factory=perf_counter)
    looked_at: float = 0.0
    waiting: deque[Request] = field(default_factory=deque)
    answers: list[Answered] = field(default_factory=list)


def open_loop(
    port: int, rate: float, seconds: float, request: Callable[[int], bytes]
) -> list[float]:
    """Send `request(0)`, `request(1)`, .. at a constant rate; return the latencies in seconds."""
    answers = answered_loop(port, rate, seconds, request)
    refused = next((answer for answer in answers if answer.status != OK), None)
    if refused is not None:
        raise OpenLoopError(f"refused with {refused.status or 'no answer'}")
    return [answer.latency for answer in answers]


def answered_loop(
    port: int,
    rate: float,
    seconds: float,
    request: Callable[[int], bytes],
    connections_max: int = CONNECTIONS,
) -> list[Answered]:
    """Do the same where refusals are expected; return all answers."""
    plan = (Planned(number / rate, request(number)) for number in range(int(rate * seconds)))
    with _run(("127.0.0.1", port), connections_max) as run:
        _send_all(run, plan)
    return run.answers


def planned_loop(
    address: Address,
    plan: Iterable[Planned],
    timeout_seconds: float,
    connections_max: int = CONNECTIONS,
) -> list[Answered]:
    """Send a plan, which is in order of time; who waits longer than the timeout is a failure."""
    with _run(address, connections_max) as run:
        run.timeout = timeout_seconds
        _send_all(run, plan)
    return run.answers


def closed_loop(
    port: int, callers: int, seconds: float, request: Callable[[int], bytes]
) -> list[Answered]:
    """Let some callers ask again as soon as they are answered; return all answers."""
    with _run(("127.0.0.1", port), callers) as run:
        _send_in_turn(run, seconds, request)
    return run.answers


def http_request(path: str, body: bytes = b"", method: str = "POST", key: str = "") -> bytes:
    """Return a whole request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if key:
        head += f"Authorization: Bearer {key}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def percentile(values: list[float], share: float) -> float:
    """Return the value that a share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def _run(address: Address, connections_max: int) -> Iterator[_Run]:
    pool = Pool(address, connections_max, FALLBACK)
    try:
        yield _Run(pool)
    finally:
        pool.close()


def _send_all(run: _Run, plan: Iterable[Planned]) -> None:
    count = 0
    for planned in plan:
        meant_at = run.started + planned.meant_at
        while (remaining := meant_at - perf_counter()) > 0:
            _receive(run, min(remaining, LOOK_SECONDS))
        run.waiting.append(Request(meant_at, planned.message, planned.route))
        count += 1
        _send_waiting(run)
        _receive(run, 0)
    deadline = perf_counter() + max(DRAIN_SECONDS_MAX, run.timeout if run.timeout < inf else 0)
    while len(run.answers) < count:
        if perf_counter() > deadline + LOOK_SECONDS:
            raise OpenLoopError(f"{count - len(run.answers)} requests were not answered")
        _receive(run, 0.01)


def _send_in_turn(run: _Run, seconds: float, request: Callable[[int], bytes]) -> None:
    number = 0
    while perf_counter() - run.started < seconds:
        while not run.waiting:
            run.waiting.append(Request(perf_counter(), request(number)))
            number += 1
            _send_waiting(run)
        _receive(run, 0.01)


def _send_waiting(run: _Run) -> None:
    while run.waiting and run.pool.send(run.waiting[0]):
        run.waiting.popleft()


def _receive(run: _Run, seconds: float) -> None:
    """Take the answers that are there, waiting for the first one so long at most."""
    for outcome in run.pool.receive(seconds):
        run.answers.append(_answered(run, outcome))
    _send_waiting(run)
    now = perf_counter()
    if now > run.looked_at + LOOK_SECONDS:
        run.looked_at = now
        _give_up(run, now - run.timeout)


def _give_up(run: _Run, meant_before: float) -> None:
    """Count those as unanswered who have waited for longer than the timeout."""
    for outcome in run.pool.expire(meant_before):
        run.answers.append(_answered(run, outcome))
    while run.waiting and run.waiting[0].meant_at < meant_before:
        run.answers.append(_answered(run, (run.waiting.popleft(), NO_ANSWER)))


def _answered(run: _Run, outcome: Outcome) -> Answered:
    request, status = outcome
    now = perf_counter()
    return Answered(
        request.meant_at - run.started,
        now - request.meant_at,
        status,
        request.route,
        (request.left_at or now) - request.meant_at,
        request.marks,
    )
