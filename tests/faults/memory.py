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


def losing(fault: Fault) -> Fault:
    """Return a fault after which the worker has to restore the memory."""

    @contextmanager
    def losing(lab: Lab) -> Iterator[None]:
        lab.stack.more["restores"] = restores(lab)
        with fault(lab):
            yield

    return losing


def restores(lab: Lab) -> int:
    """Return how often the first worker has restored Redis."""
    return lab.stack.log("worker-1").count(RESTORED)


def remembers(lab: Lab) -> None:
    """Check that sends get their first answer again, the same id, once Redis is restored."""
    deadline = time.perf_counter() + RECOVERY_SECONDS_MAX
    while restores(lab) <= lab.stack.more["restores"]:
        if time.perf_counter() > deadline:
            lab.complaints.append("Redis was not restored")
            return
        time.sleep(POLL_SECONDS)
    first = {
        row["unit"]: row["decision_id"]
        for row in lab.rows
        if row["counted"] and row["occasion"] == OCCASION
    }
    asked = list(first)[:: max(1, len(first) // SENDS_MAX)]
    body = {"experiment": lab.experiment, "occasion": OCCASION, "units": asked}
    answer = httpx.post(f"{lab.stack.url}/choose/batch", json=body, timeout=10).json()
    told = zip(asked, answer["decisions"], strict=True)
    forgotten = sum(not t["replayed"] or t["decision_id"] != first[u] for u, t in told)
    lab.expect(forgotten == 0, f"{forgotten} of {len(asked)} sends got another answer")
