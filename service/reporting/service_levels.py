"""How well the promises of `service.sla` are kept: quantiles, error budgets and verdicts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

import msgspec

from service.domain.service_levels import Counts
from service.metrics import ABOVE_US, EDGES_US
from service.reporting.formats import rfc3339
from service.sla import BAD_REQUESTS_MIN, HOUR, OBJECTIVES, Objective

MET, BROKEN, NO_DATA = "met", "broken", "no_data"
GOOD_SHARE, P99 = "good_share", "p99"  # What can be broken.
ALL_PROCESSES, THIS_PROCESS = "service", "process"
NOTES = (
    "good_share is the share of answers that were neither 5xx nor later than threshold_ms; 4xx "
    "are good. Times are the server's, from the whole request to the answer.",
    "error_budget_left is 1 - (share of bad answers) / (1 - objective): 1 when nothing of it is "
    "spent, 0 when all of it is, below 0 when the objective was missed.",
    f"A window is judged once it has requests enough for its budget to hold a bad one; before "
    f"that, only {BAD_REQUESTS_MIN} bad answers or more break it.",
    "Quantiles are interpolated between edges 21 % apart at most; the promised times are edges.",
)
_DIGITS = 6
_BEYOND_P99 = 0.01


class WindowLevel(msgspec.Struct, frozen=True):
    """Hold what was answered in a window; without requests there are no shares and quantiles."""

    requests: int
    bad: int
    good_share: float | None
    error_budget_left: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    verdict: str
    broken: tuple[str, ...]


class RouteLevel(msgspec.Struct, frozen=True):
    """Hold what is promised of a route, and what came of it in each window."""

    route: str
    objective: float
    threshold_ms: int
    p99_objective_ms: float | None
    verdict: str
    windows: dict[str, WindowLevel]


class ServiceLevels(msgspec.Struct, frozen=True):
    """Hold the answer of `GET /sla`; `covers` says whether all processes were counted."""

    generated_at: str
    covers: str
    verdict: str
    windows: dict[str, str]
    routes: tuple[RouteLevel, ...]
    notes: tuple[str, ...] = NOTES


def service_levels(
    by_window: Mapping[str, Counts], now_ms: int, *, covers: str = ALL_PROCESSES
) -> ServiceLevels:
    """Return the levels of all promised routes.

    Parameters
    ----------
    by_window
        What was counted in each window, by its name.
    now_ms
        When.
    covers
        Whose answers those are: all processes' or this one's.
    """
    routes = tuple(_route_level(objective, by_window) for objective in OBJECTIVES)
    windows = {name: overall(r.windows[name].verdict for r in routes) for name in by_window}
    verdict = overall(windows.values())
    return ServiceLevels(rfc3339(now_ms), covers, verdict, windows, routes)


def _route_level(objective: Objective, by_window: Mapping[str, Counts]) -> RouteLevel:
    windows = {name: window_level(objective, counts) for name, counts in by_window.items()}
    return RouteLevel(
        route=objective.name,
        objective=objective.good_share,
        threshold_ms=objective.threshold_ms,
        p99_objective_ms=objective.p99_ms,
        verdict=overall(level.verdict for level in windows.values()),
        windows=windows,
    )


def overall(verdicts: Iterable[str]) -> str:
    """Return what several verdicts come to: a broken one breaks all, no data says nothing."""
    found = set(verdicts)
    return next((each for each in (BROKEN, MET) if each in found), NO_DATA)


def window_level(objective: Objective, counts: Counts) -> WindowLevel:
    """Return the level of one route over one window.

    Parameters
    ----------
    objective
        What is promised; counts of other routes are left out.
    counts
        What was counted in the window.

    Notes
    -----
    The error budget left is 1 - (bad / requests) / (1 - objective). A window with fewer requests
    than `objective.requests_min` says nothing by a single bad answer: it is broken by
    `BAD_REQUESTS_MIN` of them, and else not judged.
    """
    own = {bucket: count for bucket, count in counts.items() if bucket.route == objective.name}
    times: dict[int, int] = {}
    for bucket, count in own.items():
        times[bucket.upto_us] = times.get(bucket.upto_us, 0) + count
    requests = sum(own.values())
    bad = sum(count for bucket, count in own.items() if bucket.is_bad)
    broken = _broken(objective, requests, bad, times)
    is_judged = bool(broken) or requests >= objective.requests_min
    p50, p95, p99 = (quantile_ms(times, q) for q in (0.5, 0.95, 0.99))
    return WindowLevel(
        requests=requests,
        bad=bad,
        good_share=round(1 - bad / requests, _DIGITS) if requests else None,
        error_budget_left=error_budget_left(objective, requests, bad),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        verdict=(BROKEN if broken else MET) if is_judged else NO_DATA,
        broken=broken,
    )


def error_budget_left(objective: Objective, requests: int, bad: int) -> float:
    """Return which part of the error budget is left; below 0 it is overdrawn."""
    if not requests:
        return 1.0
    return round(1 - bad / (requests * objective.bad_share), _DIGITS)


def _broken(
    objective: Objective, requests: int, bad: int, times: Mapping[int, int]
) -> tuple[str, ...]:
    broken = []
    is_enough = requests >= objective.requests_min
    if bad > requests * objective.bad_share and (is_enough or bad >= BAD_REQUESTS_MIN):
        broken.append(GOOD_SHARE)
    if objective.p99_ms is not None and is_enough:
        promised_us = objective.p99_ms * 1_000
        later = sum(count for upto_us, count in times.items() if upto_us > promised_us)
        if later > requests * _BEYOND_P99:
            broken.append(P99)
    return tuple(broken)


def quantile_ms(times: Mapping[int, int], quantile: float) -> float | None:
    """Return a quantile of times that were counted by edges; None without any.

    Parameters
    ----------
    times
        Counts by the edge, in microseconds, up to which they lie.
    quantile
        From 0 to 1.

    Notes
    -----
    Between two edges, times are taken to be spread evenly by their logarithm; below the first
    one, evenly. What lies above the last edge is shown as that edge: at least so long it took.
    """
    rank, below = quantile * sum(times.values()), 0
    for upto_us, count in sorted(times.items()):
        if below + count >= rank and count:
            return round(_between_us(upto_us, (rank - below) / count) / 1_000, 3)
        below += count
    return None


def _between_us(upto_us: int, part: float) -> float:
    if upto_us >= ABOVE_US:
        return EDGES_US[-1]
    index = bisect_left(EDGES_US, upto_us)
    if index == 0:
        return upto_us * part
    from_us = EDGES_US[index - 1]
    return float(from_us * (upto_us / from_us) ** part)


def hourly_quantiles(level: RouteLevel) -> dict[float, float]:
    """Return a route's quantiles of the last hour in seconds, NaN without requests."""
    hour = level.windows[HOUR.name]
    found = {0.5: hour.p50_ms, 0.95: hour.p95_ms, 0.99: hour.p99_ms}
    return {q: float("nan") if ms is None else ms / 1_000 for q, ms in found.items()}
