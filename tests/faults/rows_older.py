"""SQL failed over to an older state: the last seconds of what it had committed are gone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.faults.scenario import Fault, Lab, Scenario, put
from tests.faults.stack import Stack

LOST_SECONDS = 2.0  # So much of what was acknowledged is not in the state that survives.
SEEN_SECONDS_MAX = 30.0


def _copied(stack: Stack) -> Path:
    """Copy the data directory as of one moment, like a replica that falls behind from then on."""
    older = stack.directory / "older"
    stack.postgres.pause()
    try:
        shutil.copytree(stack.postgres.data, older)
    finally:
        stack.postgres.go_on()
    (older / "postmaster.pid").unlink()
    return older


def _promoted(stack: Stack, older: Path) -> None:
    stack.postgres.kill()
    shutil.rmtree(stack.postgres.data)
    older.rename(stack.postgres.data)
    stack.postgres.start()


def gone_back(*, with_redis: bool = False, with_worker: bool = False) -> Fault:
    """Return the fault, alone or together with a loss of Redis or of the worker."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        stack = lab.stack
        older = _copied(stack)
        if not with_redis:  # Else nobody would know of these any more.
            put(stack, lab.experiment, exploration_floor=0.07)
            put(stack, f"{lab.experiment}-lost")
        time.sleep(LOST_SECONDS)
        if with_worker:
            stack.workers[0].kill()
        _promoted(stack, older)
        if with_redis:
            stack.redis.kill()
            stack.redis.start()
        if with_worker:
            stack.workers[0].start()
        yield

    return fault


def _got(lab: Lab, experiment: str) -> dict[str, object]:
    found: dict[str, object] = httpx.get(f"{lab.stack.url}/experiments/{experiment}").json()
    return found


def was_noticed(lab: Lab) -> None:
    """Check that the fault did bite."""
    lab.expect("ledger_went_back" in lab.log("worker-1"), "nobody saw SQL go back")
    send = {"experiment": lab.experiment, "unit": "afterwards", "occasion": "o"}
    answer = httpx.post(f"{lab.stack.url}/choose", json=send)
    lab.expect(answer.status_code == httpx.codes.OK, "a fresh choice is refused")


def was_adopted(lab: Lab) -> None:
    """Check that what administrators did meanwhile is back as well."""
    was_noticed(lab)
    deadline = time.perf_counter() + SEEN_SECONDS_MAX
    lost = f"{lab.experiment}-lost"
    while "variants" not in _got(lab, lost) and time.perf_counter() < deadline:
        time.sleep(0.1)
    lab.expect("variants" in _got(lab, lost), "an experiment is lost")
    floor = _got(lab, lab.experiment).get("exploration_floor")
    lab.expect(floor == 0.07, "a change is lost")
    said = httpx.post(f"{lab.stack.url}/choose", json={"experiment": lost, "unit": "u"})
    lab.expect(said.status_code == httpx.codes.OK, "the experiment that was lost does not choose")


ROWS = (
    Scenario(
        name="SQL failed over to an older state",
        fault=gone_back(),
        fault_seconds=0.0,
        is_quick=True,
        check=was_adopted,
    ),
    Scenario(
        name="SQL failed over to an older state, the worker killed with it",
        fault=gone_back(with_worker=True),
        fault_seconds=0.0,
        check=was_adopted,
    ),
    Scenario(
        name="SQL failed over to an older state, Redis lost with it",
        fault=gone_back(with_redis=True),
        fault_seconds=0.0,
        check=was_noticed,
    ),
)
