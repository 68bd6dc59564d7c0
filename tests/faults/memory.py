"""Look at what Redis remembers after it lost its memory: every send must get its first answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from service.sla import RECOVERY_SECONDS_MAX
from tests.faults.load import OCCASION
from tests.faults.scenario import Fault, Lab

RESTORED = "restore_finished"
SENDS_MAX = 500
POLL_SECONDS = 0.1
TRIES, TRY_SECONDS, TRY_SENDS_MAX = 10, 0.5, 200


def losing(fault: Fault) -> Fault:
    """Return a fault after which the worker has to restore the memory."""

    @contextmanager
    def losing(lab: Lab) -> Iterator[None]:
        lab.stack.more["restores"] = restores(lab)
        with fault(lab):
            yield

    return losing


def restores(lab: Lab) -> int:
    """Return how often the workers have restored Redis."""
    logs = (lab.stack.log(f"worker-{number + 1}") for number in range(len(lab.stack.workers)))
    return sum(log.count(RESTORED) for log in logs)


def remembers(lab: Lab) -> None:
    """Check that sends get their first answer again, the same id, once Redis is restored.

    Where the machine keeps Redis from answering in time, nothing is known of what it remembers:
    then others are asked, if there are any.
    """
    deadline = time.perf_counter() + RECOVERY_SECONDS_MAX
    while restores(lab) <= lab.stack.more["restores"]:
        if time.perf_counter() > deadline:
            lab.complaints.append("Redis was not restored")
            return
        time.sleep(POLL_SECONDS)
    first, late = _first(lab), 0
    units, step = list(first), max(1, len(first) // SENDS_MAX)
    for turn in range(TRIES):
        asked = units[turn % step :: step]
        forgotten, late = _asked_again(lab, first, asked)
        if forgotten:
            lab.complaints.append(f"{forgotten} of {len(asked)} sends got another answer")
        if forgotten or not late:
            return
        time.sleep(TRY_SECONDS)
    lab.complaints.append(f"Redis was too late for {late} sends, and for some each time before")


def still_remembers(lab: Lab) -> None:
    """Check that a Redis which lost nothing soon knows what was answered without it as well.

    Each try asks other sends than the one before: whoever asks too early gives a new answer.
    """
    first = _first(lab)
    told = {d.decision_id for d in lab.load.decided if d.source == "fallback"}
    fallbacks = [unit for unit, decision_id in first.items() if decision_id in told]
    others = [unit for unit, decision_id in first.items() if decision_id not in told]
    said = ""
    for turn in range(TRIES):
        asked = fallbacks[turn::TRIES][:TRY_SENDS_MAX] + others[turn::TRIES][:TRY_SENDS_MAX]
        forgotten = sum(_asked_again(lab, first, asked))
        if not forgotten:
            return
        said = f"{forgotten} of {len(asked)} sends got another answer"
        time.sleep(TRY_SECONDS)
    lab.complaints.append(said)


def _first(lab: Lab) -> dict[str, str]:
    """Return the id of the answer that counts, by unit."""
    return {
        row["unit"]: row["decision_id"]
        for row in lab.rows
        if row["counted"] and row["occasion"] == OCCASION
    }


def _asked_again(lab: Lab, first: dict[str, str], asked: list[str]) -> tuple[int, int]:
    """Ask for units again, and judge what is told."""
    lab.expect(bool(asked), "there is no send to ask for again")
    body = {"experiment": lab.experiment, "occasion": OCCASION, "units": asked}
    answer = httpx.post(f"{lab.stack.url}/choose/batch", json=body, timeout=10)
    answer.raise_for_status()
    return judged([first[unit] for unit in asked], answer.json()["decisions"])


def judged(first: Sequence[str], told: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Count who got another answer than the first one, and who got one without Redis."""
    forgotten = late = 0
    for decision_id, again in zip(first, told, strict=True):
        if not again["replayed"] and again["source"] == "fallback":
            late += 1
        else:
            forgotten += not again["replayed"] or again["decision_id"] != decision_id
    return forgotten, late
