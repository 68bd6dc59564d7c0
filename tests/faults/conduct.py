"""Judge every attempt of a run: what may be answered during the fault, and what never."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.load import Attempt

OK = 200
CLIENT_ERRORS = range(400, 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The statuses of a scenario's fault, and how long after it they may still be met.

    Outside of the fault only 200 is right, and the client errors among them: what is right to
    refuse, such as a reward that comes too late, does not depend on the fault.
    """

    choose: tuple[int, ...]
    reward: tuple[int, ...]
    seconds_after: float


def overlaps(attempt: Attempt, began: float, ended: float) -> bool:
    """Whether any part of an attempt was during a fault; what was under way counts as well."""
    return attempt.began < ended and attempt.began + attempt.ms / 1_000 >= began


def wrong(attempts: Sequence[Attempt], rules: Rules, began: float, ended: float) -> list[str]:
    """Tell each kind of answer that nobody should have got, and how often."""
    found: Counter[str] = Counter()
    for attempt in attempts:
        is_fault = overlaps(attempt, began, ended + rules.seconds_after)
        if not _is_allowed(attempt, rules, is_fault=is_fault):
            when = "" if overlaps(attempt, began, ended) else " outside of the fault"
            said = attempt.status or "no answer"
            problem = f" {attempt.source}" if attempt.status >= CLIENT_ERRORS.start else ""
            found[f"{said}{problem} to {attempt.kind}{when}"] += 1
    return [f"{count} x {what}" for what, count in found.items()]


def _is_allowed(attempt: Attempt, rules: Rules, *, is_fault: bool) -> bool:
    listed = rules.choose if attempt.kind == "choose" else rules.reward
    if attempt.status == OK:
        return True
    return attempt.status in listed and (is_fault or attempt.status in CLIENT_ERRORS)


def rewards_recovery(
    attempts: Sequence[Attempt], ended: float, listed: Sequence[int], good_seconds: float
) -> float | None:
    """Return the seconds from the fault's end to the first whole second of recorded rewards.

    A reward that was under way when the fault ended belongs to the fault.
    """
    good = {OK, *(status for status in listed if status in CLIENT_ERRORS)}
    after = sorted(
        (a for a in attempts if a.began >= ended and a.kind == "reward"), key=lambda a: a.began
    )
    good_since = ended
    for attempt in after:
        if attempt.began - good_since >= good_seconds:
            return good_since - ended
        if attempt.status not in good:
            good_since = attempt.began
    return None
