"""Look at what Redis remembers after it lost its memory: every send must get its first answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

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
    """Check that sends get their first answer again, the same id, once Redis is restored."""
    deadline = time.perf_counter() + RECOVERY_SECONDS_MAX
    while restores(lab) <= lab.stack.more["restores"]:
        if time.perf_counter() > deadline:
            lab.complaints.append("Redis was not restored")
            return
        time.sleep(POLL_SECONDS)
    first = _first(lab)
    asked = list(first)[:: max(1, len(first) // SENDS_MAX)]
    forgotten = _forgotten(lab, first, asked)
    lab.expect(forgotten == 0, f"{forgotten} of {len(asked)} sends got another answer")


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
        forgotten = _forgotten(lab, first, asked)
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


def _forgotten(lab: Lab, first: dict[str, str], asked: list[str]) -> int:
    """Ask for units again; count the ones that did not get their first answer."""
    lab.expect(bool(asked), "there is no send to ask for again")
    body = {"experiment": lab.experiment, "occasion": OCCASION, "units": asked}
    answer = httpx.post(f"{lab.stack.url}/choose/batch", json=body, timeout=10)
    answer.raise_for_status()
    told = zip(asked, answer.json()["decisions"], strict=True)
    return sum(not t["replayed"] or t["decision_id"] != first[u] for u, t in told)
