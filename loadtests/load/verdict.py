"""Were the promises of `service.sla` kept? Figures in, reasons out; nothing here asks anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loadtests.connections import NO_ANSWER
from loadtests.load.shapes import SENDER_UNITS
from loadtests.open_loop import Answered, percentile
from service.sla import LEDGER_LAG_SECONDS_MAX, OBJECTIVES, Objective

SERVER_ERROR = 500
# Redis is there all through a load test, so hardly anything may be answered without it.
FALLBACK_SHARE_MAX = 0.001
# On a machine that is busy with other things choices may run into their deadline, but not most.
FALLBACK_SHARE_UNTIMED_MAX = 0.5
# A sender that leaves later than this measures itself and not the service.
SENDER_LATE_P99_MS = 5.0
# How many choices one request of the sender asks for.
CHOICES = {"POST /choose": 1, "GET /choose": 1, "POST /choose/batch": SENDER_UNITS}
GROWTH_MAX = 0.02  # Of memory after the warm-up of a soak.
WATCHED = frozenset({"api", "worker"})  # Roles without which nothing was looked at.


@dataclass(frozen=True, slots=True)
class RouteFigures:
    """What the open-loop sender saw of one route."""

    objective: Objective
    requests: int
    rate: float  # A second.
    bad: int  # Answered 5xx, not at all, or later than the threshold.
    errors: int  # Answered 5xx, or not at all.
    refused: int  # Answered 4xx: then the load itself is wrong.
    fallbacks: int  # Choices that were answered without Redis.
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def good_share(self) -> float:
        """The share of answers that were good."""
        return 1 - self.bad / self.requests

    @property
    def fallback_share(self) -> float | None:
        """The share of choices answered without Redis; None where nothing is chosen."""
        choices = CHOICES.get(self.objective.name, 0) * self.requests
        return self.fallbacks / choices if choices else None


@dataclass(frozen=True, slots=True)
class Growth:
    """How much a role of the service's processes held after the warm-up, and at the end."""

    role: str
    memory_before: float  # Bytes.
    memory_after: float
    descriptors_before: float
    descriptors_after: float

    @property
    def memory_share(self) -> float:
        """By what share the memory grew."""
        return self.memory_after / self.memory_before - 1


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a load test found out."""

    routes: Sequence[RouteFigures]
    is_timed: bool
    sender_late_p99_ms: float
    decisions: float  # That the service counted during the load.
    fallbacks: float
    server_verdicts: Mapping[str, str]  # Of `GET /sla`, by route.
    audit_difference: float | None  # None where no audit ran.
    ledger_seconds: float | None  # From the end of the load to an empty outbox; None: never.
    user_failures: Sequence[str] = ()  # What Locust's users hold against the service.
    growth: Sequence[Growth] | None = None  # None where it is not judged.

    @property
    def fallback_share(self) -> float:
        """The share of choices that were answered without Redis."""
        return self.fallbacks / self.decisions if self.decisions else 0.0


def figures_of(answers: Sequence[Answered], seconds: float) -> list[RouteFigures]:
    """Sum up the answers by route, in the order of the objectives."""
    by_route: dict[str, list[Answered]] = {}
    for answer in answers:
        by_route.setdefault(answer.route, []).append(answer)
    return [
        _figures(objective, by_route[objective.name], seconds)
        for objective in OBJECTIVES
        if objective.name in by_route
    ]


def reasons(findings: Findings) -> list[str]:
    """Return what was not kept, a sentence each; none at all is a pass."""
    broken = [reason for route in findings.routes for reason in _of_route(route, findings.is_timed)]
    missing = {objective.name for objective in OBJECTIVES} - {
        route.objective.name for route in findings.routes
    }
    broken += [f"{name} was never asked" for name in sorted(missing)]
    if findings.is_timed:
        broken += _of_times(findings)
    if findings.growth is not None:
        broken += _of_growth(findings.growth)
    return [*broken, *_of_service(findings)]


def late_p99_ms(answers: Sequence[Answered]) -> float:
    """Return how late requests left, as far as 99 of 100 are concerned."""
    return 1_000 * percentile([answer.late for answer in answers], 0.99)


def _figures(objective: Objective, answers: list[Answered], seconds: float) -> RouteFigures:
    latencies = [1_000 * answer.latency for answer in answers]
    errors = [answer for answer in answers if _is_error(answer)]
    late = [
        answer
        for answer in answers
        if not _is_error(answer)
        and answer.status < 400
        and 1_000 * answer.latency > objective.threshold_ms
    ]
    return RouteFigures(
        objective,
        requests=len(answers),
        rate=len(answers) / seconds,
        bad=len(errors) + len(late),
        errors=len(errors),
        refused=sum(400 <= answer.status < SERVER_ERROR for answer in answers),
        fallbacks=sum(answer.fallbacks for answer in answers),
        p50_ms=percentile(latencies, 0.50),
        p95_ms=percentile(latencies, 0.95),
        p99_ms=percentile(latencies, 0.99),
    )


def _is_error(answer: Answered) -> bool:
    return answer.status == NO_ANSWER or answer.status >= SERVER_ERROR


def _of_route(route: RouteFigures, is_timed: bool) -> list[str]:
    objective, name = route.objective, route.objective.name
    found = []
    bad = route.bad if is_timed else route.errors
    share = 1 - bad / route.requests
    if share < objective.good_share:
        found.append(
            f"{name}: {share:.4%} good, {objective.good_share:.1%} is promised"
            f" ({route.errors} errors or no answer, {route.bad - route.errors}"
            f" later than {objective.threshold_ms} ms, of {route.requests})"
        )
    if is_timed and objective.p99_ms is not None and route.p99_ms > objective.p99_ms:
        found.append(f"{name}: p99 {route.p99_ms:.1f} ms, {objective.p99_ms:g} ms is promised")
    if route.refused:
        found.append(f"{name}: {route.refused} requests of the load were refused with a 4xx")
    return found


def _of_times(findings: Findings) -> list[str]:
    found = [
        f"GET /sla says that {route} is {verdict}"
        for route, verdict in findings.server_verdicts.items()
        if verdict == "broken"
    ]
    if findings.sender_late_p99_ms > SENDER_LATE_P99_MS:
        found.append(
            f"the sender itself was {findings.sender_late_p99_ms:.1f} ms late (p99):"
            " its figures are not the service's"
        )
    return found


def _of_service(findings: Findings) -> list[str]:
    found = []
    share_max = FALLBACK_SHARE_MAX if findings.is_timed else FALLBACK_SHARE_UNTIMED_MAX
    if findings.fallback_share > share_max:
        found.append(f"{findings.fallback_share:.2%} of the choices were answered without Redis")
    if not findings.decisions:
        found.append("the service counted no decision")
    if findings.audit_difference:
        found.append(f"the audit found {findings.audit_difference:g} differences")
    if findings.ledger_seconds is None:
        found.append(f"the ledger had not everything after {LEDGER_LAG_SECONDS_MAX:g} s")
    return found + [f"a user of the load found: {text}" for text in findings.user_failures]


def _of_growth(growth: Sequence[Growth]) -> list[str]:
    unseen = WATCHED - {role.role for role in growth}
    found = [f"nobody saw how much memory {role} took" for role in sorted(unseen)]
    for role in growth:
        if role.memory_share > GROWTH_MAX:
            found.append(
                f"memory of {role.role} grew by {role.memory_share:.1%},"
                f" from {role.memory_before / 1e6:.1f} to {role.memory_after / 1e6:.1f} MB"
            )
        if role.descriptors_after > role.descriptors_before:
            found.append(
                f"descriptors of {role.role} grew"
                f" from {role.descriptors_before:g} to {role.descriptors_after:g}"
            )
    return found
