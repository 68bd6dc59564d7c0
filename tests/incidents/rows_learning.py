"""Incidents of learning: nobody learns, or from data that are late or wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from tests.incidents.callers import choose, hours_ago, reward
from tests.incidents.incident import Incident, Scene
from tests.incidents.tilted import favouring

AWAY = "snapshots_away"
REWARD_SECONDS, REWARDS_AT_ONCE = 2.0, 10
WINDOW_SECONDS = 1.0


@contextmanager
def the_worker_hangs(scene: Scene) -> Iterator[None]:
    scene.stack.workers[0].pause()
    yield
    scene.stack.workers[0].go_on()


@contextmanager
def snapshots_are_gone(scene: Scene) -> Iterator[None]:
    """Take one table away that one loop needs, as a migration that went wrong does."""
    _execute(scene, f"ALTER TABLE snapshots RENAME TO {AWAY}")
    yield
    _execute(scene, f"ALTER TABLE {AWAY} RENAME TO snapshots")


@contextmanager
def reports_are_late(scene: Scene) -> Iterator[None]:
    """Report conversions twelve hours after they happened."""

    def work() -> None:
        reward(scene, choose(scene, REWARDS_AT_ONCE), occurred_at=hours_ago(12))

    with scene.keeping(work, REWARD_SECONDS):
        yield


@contextmanager
def customers_are_slow(scene: Scene) -> Iterator[None]:
    """Let customers convert when the attribution window is over."""

    def work() -> None:
        decisions = choose(scene, REWARDS_AT_ONCE)
        time.sleep(2 * WINDOW_SECONDS)
        reward(scene, decisions)

    with scene.keeping(work, REWARD_SECONDS):
        yield


@contextmanager
def rewards_repeat(scene: Scene) -> Iterator[None]:
    """Send the same rewards again and again, as a retry does that never ends."""
    decisions = choose(scene, REWARDS_AT_ONCE)
    with scene.keeping(lambda: reward(scene, decisions), 0.2):
        yield


def _execute(scene: Scene, statement: str) -> None:
    engine = scene.stack.sql.engine()
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


ROWS = (
    Incident(
        name="The only worker hangs (SIGSTOP)",
        alerts=("PromobanditLearningStalled", "PromobanditOutboxOld"),
        breaking=the_worker_hangs,
    ),
    Incident(
        name="A table that one loop needs is gone",
        alerts=("PromobanditLoopFails",),
        breaking=snapshots_are_gone,
        labels={"loop": "snapshot"},
    ),
    Incident(
        name="Conversions are reported twelve hours after they happened",
        alerts=("PromobanditRewardsLate",),
        breaking=reports_are_late,
    ),
    Incident(
        name="Customers convert after a window of one second",
        alerts=("PromobanditRewardsAfterWindow",),
        breaking=customers_are_slow,
        body={"reward": {"window": "PT1S"}},
    ),
    Incident(
        name="A sampler favours one variant",
        alerts=("PromobanditSplitMismatch",),
        breaking=favouring,
        body={"policy": {"name": "uniform"}},
    ),
    Incident(
        name="The same rewards are sent again and again",
        alerts=("PromobanditDataQuality",),
        breaking=rewards_repeat,
        labels={"check": "duplicates"},
    ),
)
