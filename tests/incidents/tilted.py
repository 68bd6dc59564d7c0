"""A sampler that favours one variant, and logs the propensities of the allocation all the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from msgspec import structs

from service.bandits.arrays import FloatArray
from service.bootstrap.system import SystemClock
from service.domain.decision import Decision, Source, decision_key
from service.store.outbox import SegmentOutbox
from tests.faults.segments import frames_in
from tests.incidents.incident import EXPERIMENT, Scene

SEED = 17
TILT = 1.5  # The odds of the favoured variant, times its own.
SECONDS, DECISIONS = 0.5, 100
OCCASION = "tilted"


@contextmanager
def favouring(scene: Scene) -> Iterator[None]:
    """Write decisions of such a sampler to an outbox of its own, as an API process does."""
    directory = Path(scene.stack.environment["PROMOBANDIT_OUTBOX_DIR"])
    dice, serial = np.random.default_rng(SEED), itertools.count()
    outbox, like = SegmentOutbox(directory, SystemClock()), _a_decision(directory)

    def work() -> None:
        version, intended = _allocation(scene)
        odds = intended * np.where(np.arange(intended.size) == 0, TILT, 1.0)
        variants = dice.choice(intended.size, size=DECISIONS, p=odds / odds.sum())
        outbox.append(
            [_as(like, f"t{next(serial)}", version, int(v), float(intended[v])) for v in variants]
        )

    with scene.keeping(work, SECONDS):
        yield


def _a_decision(directory: Path) -> Decision:
    """Find a decision of the experiment, for what all of them have in common."""
    return next(
        frame.record
        for segment in directory.glob("*.seg")
        for frame in frames_in(segment)
        if isinstance(frame.record, Decision)
    )


def _allocation(scene: Scene) -> tuple[int, FloatArray]:
    answer = httpx.get(f"{scene.stack.url}/experiments/{EXPERIMENT}/allocation", timeout=10)
    answer.raise_for_status()
    told = answer.json()
    return told["version"], np.array([variant["propensity"] for variant in told["variants"]])


def _as(like: Decision, unit: str, version: int, variant: int, propensity: float) -> Decision:
    return structs.replace(
        like,
        key=decision_key(like.tenant, like.experiment, unit, OCCASION),
        unit=unit,
        occasion=OCCASION,
        variant=variant,
        propensity=propensity,
        version=version,
        source=Source.policy,
        holdout=False,
        context=None,
        eligible=None,
        decided_at_ms=SystemClock().now_ms(),
    )
