"""Rewards at odd times, and records that the ledger can never take."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from msgspec.structs import replace

from service.bootstrap.system import SystemClock
from service.domain.decision import Decision, Source, decision_key
from service.domain.reward import MICROS, Reward, RewardStatus
from service.store.outbox import SegmentOutbox
from tests.faults.ledger import expire_leases, head, orphans
from tests.faults.load import Plan
from tests.faults.scenario import Lab, Scenario
from tests.faults.verdict import exported, key_of

WINDOW_SECONDS = 1.0
GATHER_SECONDS = 1.5  # So long nobody rewards, so that there is enough to reward too late.
WHOLE = 200
SEGMENT_BYTES = 1 << 20
SECONDS_MAX = 30.0
GONE = 410
RETIRED = "c"


@contextmanager
def worker_stopped(lab: Lab) -> Iterator[None]:
    """Stop the worker: decisions wait in the outbox while their rewards go to the ledger."""
    lab.stack.workers[0].kill()
    yield
    lab.expect(orphans(lab.stack, lab.experiment) > 0, "no reward was faster than its decision")
    expire_leases(lab.stack)  # Its own, which is not what this is about.
    lab.stack.workers[0].start()


@contextmanager
def window_closes(lab: Lab) -> Iterator[None]:
    """Let nobody reward until the window of many decisions has closed, the worker stopped."""
    usual, lab.load.plan.rewards_a_second = lab.load.plan.rewards_a_second, 0.0
    lab.stack.workers[0].kill()
    time.sleep(WINDOW_SECONDS + GATHER_SECONDS)
    lab.load.plan.rewards_a_second = usual
    yield
    lab.stack.workers[0].start()


def late_ones_stand_apart(lab: Lab) -> None:
    """Check that what was answered 410 is recorded as late, and nothing else is."""
    told_late = {key_of(r.decision_id) for r in lab.load.rewarded if r.status == GONE}
    late = {key_of(row["decision_id"]) for row in lab.rows if "late" in _statuses(row)}
    lab.expect(bool(late), "no reward was too late")
    lab.expect(told_late == late, f"{len(told_late)} were told to be late, {len(late)} are")


@contextmanager
def variant_retired(lab: Lab) -> Iterator[None]:
    """Retire a variant between many of its decisions and their rewards."""
    usual, lab.load.plan.rewards_a_second = lab.load.plan.rewards_a_second, 0.0
    time.sleep(GATHER_SECONDS)
    url = f"{lab.stack.url}/experiments/{lab.experiment}/variants/{RETIRED}/retire"
    httpx.post(url, timeout=10).raise_for_status()
    lab.stack.more["retired_at"] = time.perf_counter()
    lab.load.plan.rewards_a_second = usual
    yield


def the_retired_is_credited(lab: Lab) -> None:
    """Check that rewards of a retired variant count for it, and that nobody gets it any more."""
    retired_at = lab.stack.more["retired_at"]
    rewarded = {r.decision_id for r in lab.load.rewarded if r.at > retired_at}
    theirs = [row for row in lab.rows if row["variant"] == RETIRED]
    credited = [row for row in theirs if row["decision_id"] in rewarded]
    lab.expect(bool(credited), "no reward came for the retired variant")
    statuses = {status for row in credited for status in _statuses(row)}
    lab.expect(statuses == {"accepted"}, f"its rewards are {statuses}")
    given = [d for d in lab.load.decided if d.variant == RETIRED and d.at > retired_at + 1.0]
    fresh = [d for d in given if not _is_older(lab, d.unit, retired_at)]
    lab.expect(not fresh, f"{len(fresh)} got the retired variant a second later")


def _is_older(lab: Lab, unit: str, at: float) -> bool:
    """Whether a unit was first answered before a time: a repetition keeps its variant."""
    return any(d.unit == unit and d.at < at for d in lab.load.decided)


def _statuses(row: dict[str, Any]) -> list[str]:
    return [reward["status"] for reward in row["rewards"]]


@contextmanager
def poisoned(lab: Lab) -> Iterator[None]:
    """Put two records that the ledger can never take in the midst of others, in one segment."""
    number, version = head(lab.stack, lab.experiment)
    whole = [_decision(number, version, f"whole-{i}") for i in range(WHOLE)]
    rewards = [_reward(decision) for decision in whole]
    worthless = replace(rewards[0], event_id="poison", value_micros=1 << 63)
    nameless = _decision(number, version, "poison\0")
    half = WHOLE // 2
    outbox = SegmentOutbox(_outbox(lab), SystemClock(), SEGMENT_BYTES)
    outbox.append([*whole[:half], nameless, *whole[half:], *rewards[:half], worthless])
    outbox.append(rewards[half:])
    outbox.close()
    lab.load.sent |= {(urlsafe_b64encode(reward.key).decode(), "") for reward in rewards}
    yield


def all_but_the_poison_arrived(lab: Lab) -> None:
    """Check that the poison is put aside where a person can read it, and that all else counts."""
    whole = (WHOLE, WHOLE, ["decision", "reward"])
    deadline = time.perf_counter() + SECONDS_MAX
    while (found := _arrived(lab)) != whole and time.perf_counter() < deadline:
        time.sleep(0.2)
    lab.expect(found == whole, f"neighbours, their rewards and the quarantine are {found}")


def _arrived(lab: Lab) -> tuple[int, int, list[str]]:
    rows = exported(lab.stack.url, lab.experiment)
    theirs = [row for row in rows if row["unit"].startswith("whole-")]
    rewarded = [row for row in theirs if _statuses(row) == ["accepted"]]
    number, _ = head(lab.stack, lab.experiment)
    files = [json.loads(path.read_text()) for path in _outbox(lab).glob("quarantine/*.json")]
    kinds = sorted(f["kind"] for f in files if f[f["kind"]]["experiment"] == number)
    return len(theirs), len(rewarded), kinds


def _outbox(lab: Lab) -> Path:
    return Path(lab.stack.environment["PROMOBANDIT_OUTBOX_DIR"])


def _decision(experiment: int, version: int, unit: str) -> Decision:
    return Decision(
        key=decision_key(1, experiment, unit, "o"),
        tenant=1,
        experiment=experiment,
        variant=0,
        propensity=1 / 3,
        source=int(Source.policy),
        holdout=False,
        version=version,
        key_id=1,
        decided_at_ms=SystemClock().now_ms(),
        unit=unit,
        occasion="o",
    )


def _reward(decision: Decision) -> Reward:
    return Reward(
        key=decision.key,
        event="conversion",
        event_id="",
        tenant=1,
        experiment=decision.experiment,
        variant=decision.variant,
        decided_at_ms=decision.decided_at_ms,
        value_micros=MICROS,
        status=int(RewardStatus.accepted),
        converts=True,
        occurred_at_ms=decision.decided_at_ms,
        received_at_ms=decision.decided_at_ms,
    )


ROWS = (
    Scenario(
        name="Poison in the outbox: two records that SQL can never take",
        fault=poisoned,
        fault_seconds=0.0,
        reward_statuses=(200,),
        is_quick=True,
        check=all_but_the_poison_arrived,
    ),
    Scenario(
        name="Rewards before their decision reached the ledger",
        fault=worker_stopped,
        plan=Plan(choices_a_second=80.0, rewards_a_second=120.0),
        reward_statuses=(200,),
        is_quick=True,
    ),
    Scenario(
        name="Rewards after the window, before their decision reached the ledger",
        fault=window_closes,
        fault_seconds=WINDOW_SECONDS + GATHER_SECONDS + 2.0,
        body={"reward": {"window": "PT1S"}},
        reward_statuses=(200, 410),
        check=late_ones_stand_apart,
    ),
    Scenario(
        name="Rewards for a variant that was retired meanwhile",
        fault=variant_retired,
        fault_seconds=GATHER_SECONDS + 2.0,
        reward_statuses=(200,),
        check=the_retired_is_credited,
    ),
)
