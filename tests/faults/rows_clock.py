"""What wrong clocks can do: an hour off either way, of one process or of all, and while running."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx

from tests.faults.clocks import (
    NONE_OF_ITS_OWN,
    before_midnight,
    clocks_off,
    jumped,
    with_clocks,
)
from tests.faults.load import OCCASION, Plan
from tests.faults.scenario import Fault, Lab, Scenario, put
from tests.faults.stack import Stack
from tests.faults.verdict import key_of

AHEAD, BEHIND = 1.0, -1.0
HEARD_SECONDS_MAX = 5.0
POLL_SECONDS = 0.05
GONE = 410
ALL = ("api-1", "api-2", "worker-1")


def heard(fault: Fault) -> Fault:
    """Return the same fault in which a pause must be heard of by the other process."""

    @contextmanager
    def with_pause(lab: Lab) -> Iterator[None]:
        paused = f"{lab.experiment}-paused"
        put(lab.stack, paused)
        with fault(lab):
            lab.expect(_source(lab, paused) == "policy", "a new experiment does not choose")
            url = f"{lab.stack.url}/experiments/{paused}/pause"
            httpx.post(url, timeout=10).raise_for_status()
            _wait(lambda: _source(lab, paused) == "inactive")
            lab.expect(_source(lab, paused) == "inactive", "the pause was not heard of")
            yield

    return with_pause


def _source(lab: Lab, experiment: str) -> str:
    """Ask the second process; every choice is a new one."""
    url = f"http://127.0.0.1:{lab.stack.ports[1]}/choose"
    body = {"experiment": experiment, "unit": "somebody"}
    told: dict[str, str] = httpx.post(url, json=body, timeout=10).json()
    return told.get("source", "none")


def all_the_same(lab: Lab) -> None:
    """Check that a send has one id, whoever was asked, and that all show the newest evidence."""
    ids = defaultdict(set)
    fallbacks = set()
    named = {row["decision_id"] for row in lab.rows if row["occasion"] == OCCASION}
    for decided in lab.load.decided:
        if decided.decision_id in named:
            ids[decided.unit].add(decided.decision_id)
        if decided.source == "fallback":
            fallbacks.add(decided.unit)
    apart = [unit for unit, each in ids.items() if len(each) > 1 and unit not in fallbacks]
    lab.expect(not apart, f"{len(apart)} sends have two ids")
    _wait(lambda: len(_evidence_told(lab)) == 1)
    lab.expect(len(_evidence_told(lab)) == 1, f"evidence is told of {_evidence_told(lab)}")


def _evidence_told(lab: Lab) -> set[int]:
    """Return the revisions of the evidence that the ledger has and that all processes show."""
    path = f"/experiments/{lab.experiment}"
    urls = [f"http://127.0.0.1:{port}{path}/allocation" for port in lab.stack.ports]
    urls.append(f"{lab.stack.url}{path}/report")
    return {httpx.get(url, timeout=10).json()["evidence_revision"] for url in urls}


def _wait(holds: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + HEARD_SECONDS_MAX
    while not holds() and time.perf_counter() < deadline:
        time.sleep(POLL_SECONDS)


def told_as_recorded(lab: Lab) -> None:
    """Check that nobody was told something else of a reward than what stands in the ledger."""
    late = Counter(
        key_of(row["decision_id"]) for row in lab.rows for s in _statuses(row) if s == "late"
    )
    told = {
        is_late: {
            (key_of(r.decision_id), r.event_id)
            for r in lab.load.rewarded
            if (r.status == GONE) is is_late
        }
        for is_late in (True, False)
    }
    lab.expect(all(told.values()), "every reward was too late, or none was")
    both = len(told[True] & told[False])
    lab.expect(both == 0, f"of {both} rewards it was told that they count and that they are late")
    wrong = len(Counter(key for key, _ in told[True]) - late)
    lab.expect(wrong == 0, f"{wrong} rewards were told to be late and are not")


def _statuses(row: dict[str, Any]) -> list[str]:
    return [reward["status"] for reward in row["rewards"]]


@contextmanager
def rotated_and_restarted(lab: Lab) -> Iterator[None]:
    """Rotate the signing key, and restart a process that is ahead: it holds the key active."""
    code, said = lab.stack.run("rotate-signing-key")
    lab.expect(code == 0, said)
    with jumped(lab, AHEAD, "api-1"):
        lab.stack.apis[0].close()
        lab.stack.apis[0].start()
        lab.stack.wait_until_ready([0])
        yield


def _row(
    name: str,
    fault: Fault,
    prepare: Callable[[Stack], None] = with_clocks,
    check: Callable[[Lab], None] = all_the_same,
    body: dict[str, Any] | None = None,
) -> Scenario:
    return Scenario(
        name=name,
        fault=fault,
        layout=NONE_OF_ITS_OWN,
        prepare=prepare,
        plan=Plan(choices_a_second=100.0, twin_share=0.2, again_share=0.2),
        check=check,
        body=body or {},
        reward_statuses=(200, 202) if body is None else (200, 202, GONE),
    )


ROWS = (
    _row("Clock of one API process an hour ahead", heard(clocks_off(AHEAD, "api-1"))),
    _row("Clock of one API process an hour behind", heard(clocks_off(BEHIND, "api-1"))),
    _row("Clock of the worker an hour ahead", heard(clocks_off(AHEAD, "worker-1"))),
    _row("Clock of the worker an hour behind", heard(clocks_off(BEHIND, "worker-1"))),
    _row("Clocks of all an hour ahead of SQL and Redis", heard(clocks_off(AHEAD, *ALL))),
    _row("Clocks of all an hour behind SQL and Redis", heard(clocks_off(BEHIND, *ALL))),
    replace(
        _row(
            "Clock of one API process an hour ahead, across midnight",
            heard(clocks_off(AHEAD, "api-1")),
            before_midnight,
        ),
        is_quick=True,
    ),
    _row(
        "Clocks half an hour apart, the attribution window 15 minutes",
        clocks_off(0.5, "api-1"),
        check=told_as_recorded,
        body={"reward": {"window": "PT15M"}},
    ),
    _row("Signing key rotated, one API process an hour ahead", rotated_and_restarted),
)
