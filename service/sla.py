"""What is promised to callers, as numbers: the only place where they stand."""

from __future__ import annotations

from typing import NamedTuple

CHOOSE_P99_MS = 10.0  # Objective for one choice, server side.
TEMPLATE_BUDGET_MS = 2_000  # What an e-mail template waits before it gives the mail up.
# The internal deadline of /choose, both methods and the batch: a choice that Redis did not answer
# within this is answered from memory (source: fallback).
CHOOSE_REDIS_DEADLINE_MS = 100
# A choice that has waited so long for its turn is answered without asking Redis at all.
CHOOSE_WAIT_MS = 150
# With a full disk under the outbox, SQL has so long to take a choice before that is refused.
CHOOSE_SQL_DEADLINE_MS = 1_000
# With Redis or SQL gone, hung or slow, a choice for a known experiment is answered within this.
CHOOSE_FAULT_MS = 250
# Of what is let in under overload, calls of 200 units included, 99 % are answered within this.
OVERLOAD_P99_MS = 500.0
OVERLOAD_RECOVERY_SECONDS_MAX = 10.0  # From the end of an overload to answers as before.
FAULT_RECOVERY_SECONDS_MAX = 5.0  # From the end of a fault to choices answered by the policy.
REWARD_P99_MS = 100.0
# A reward that SQL did not take within this goes to the outbox and is answered 202 queued.
REWARD_SQL_DEADLINE_MS = 2_000
LEDGER_LAG_SECONDS_MAX = 60.0  # From the answer to the row in the ledger.
ALLOCATION_INTERVAL_MS = 200  # An allocation is recomputed at most so often.
ALLOCATION_REFRESH_MS = 60_000  # And at least so often, because evidence ages.
CHANGE_POLL_MS = 100  # How often an API process looks for newer allocations.
RECOVERY_SECONDS_MAX = 60.0  # From the end of a fault to equal evidence and memory.


# ---------------------------------------------------------------- service levels


class Objective(NamedTuple):
    """What is promised of a route: the share of good answers, and for some the 99th percentile.

    Bad is an answer of 5xx, a shed 503 included, and one that took longer than the threshold from
    the whole request to the answer: the time in which a caller sends a body is not ours. Good is
    the rest: 4xx, 429 among them, is the caller's doing, however long it took. A request that was
    refused before its route was known counts in no objective, nor does one whose client hung up
    while it was still sending.
    """

    name: str  # As metrics, `GET /sla` and alerts call it.
    method: str
    template: str  # Of the route; with a star at its end, of all that begin so.
    threshold_ms: int
    good_share: float
    p99_ms: float | None = None  # 99 of 100 answers within this, whatever their status.

    @property
    def bad_share(self) -> float:
        """The error budget: the share of answers that may be bad."""
        return round(1 - self.good_share, 9)

    @property
    def requests_min(self) -> int:
        """The fewest requests whose error budget holds a bad one: fewer prove nothing."""
        return round(1 / self.bad_share)

    def covers(self, method: str, template: str) -> bool:
        """Whether a request to a route counts in this objective."""
        if method != self.method:
            return False
        if self.template.endswith("*"):
            return template.startswith(self.template[:-1])
        return template == self.template


OBJECTIVES = (
    Objective("POST /choose", "POST", "/choose", 500, 0.999, CHOOSE_P99_MS),
    Objective("GET /choose", "GET", "/choose", TEMPLATE_BUDGET_MS, 0.999, CHOOSE_P99_MS),
    Objective("POST /choose/batch", "POST", "/choose/batch", 2_000, 0.999),
    Objective("POST /reward", "POST", "/reward", 500, 0.999, REWARD_P99_MS),
    Objective("POST /reward/batch", "POST", "/reward/batch", 2_000, 0.999),
    Objective("reports", "GET", "/experiments/{experiment_id}/report*", 2_000, 0.99),
)


def objective_of(method: str, template: str) -> Objective | None:
    """Return the objective a request to a route counts in, None for a route without one."""
    return next((each for each in OBJECTIVES if each.covers(method, template)), None)


class Window(NamedTuple):
    """A time up to now over which answers are counted; `name` is spelt as in PromQL."""

    name: str
    seconds: int


HOUR = Window("1h", 3_600)
MONTH = Window("30d", 30 * 86_400)
WINDOWS = (HOUR, MONTH)  # Of `GET /sla`; the error budget is that of the month.

# Fewer bad answers than this in a window wake nobody. Nor do they break a promise, if the window
# has fewer requests than `requests_min`.
BAD_REQUESTS_MIN = 10


class BurnRate(NamedTuple):
    """When an alert fires: the budget burns so fast in both windows, by enough bad answers.

    Burn rate 1 spends exactly the month's budget in a month. The long window says that it
    matters, the short one that it is still going on.
    """

    rate: float
    long: Window
    short: Window
    severity: str  # `page` wakes somebody; `ticket` waits for the morning.
    bad_min: int = BAD_REQUESTS_MIN  # In the long window.


BURN_RATES = (
    BurnRate(14.4, HOUR, Window("5m", 300), "page"),  # 2 % of the budget in an hour.
    BurnRate(6.0, Window("6h", 21_600), Window("30m", 1_800), "page"),  # 5 % in six hours.
    BurnRate(1.0, Window("3d", 259_200), Window("6h", 21_600), "ticket"),  # 10 % in three days.
)
