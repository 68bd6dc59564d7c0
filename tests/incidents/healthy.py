"""A healthy service under a steady load: nothing may fire, and there must be something to judge."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import yaml

from tests.deploy.promql import metrics_in
from tests.faults.stack import Layout
from tests.incidents.callers import choose, hours_ago, reward
from tests.incidents.incident import USUAL, Scene, at_work
from tests.incidents.prometheus import DEPLOYED, Alert, Prometheus

SECONDS = 600.0
POLL_SECONDS = 5.0
LAYOUT = Layout(apis=2, workers=2)  # One worker stands by.
PLAN = replace(USUAL, choices_a_second=30.0, rewards_a_second=8.0, batches_a_second=1.0)
REWARD_SECONDS, REWARDS_AT_ONCE = 5.0, 5


@dataclass(frozen=True, slots=True)
class Healthy:
    """What fired in spite of all, and what was done meanwhile."""

    fired: frozenset[Alert]
    answers: int
    seconds: float
    complaints: tuple[str, ...]

    def broken(self) -> list[str]:
        """Tell what was not as it should be."""
        told = (f"{alert.name} fired: {dict(alert.labels)}" for alert in sorted(self.fired))
        return [*told, *self.complaints]


def run(seconds: float = SECONDS) -> Healthy:
    """Let callers choose, send, reward and read reports for a while."""
    with at_work(LAYOUT, PLAN, scraped=1, body={}) as scene:
        began, fired = time.perf_counter(), set[Alert]()

        def work() -> None:
            # Some reports say when the conversion was: a little while ago.
            reward(scene, choose(scene, REWARDS_AT_ONCE), occurred_at=hours_ago(0.01))

        with scene.keeping(work, REWARD_SECONDS):
            while time.perf_counter() - began < seconds:
                time.sleep(POLL_SECONDS)
                fired |= scene.prometheus.firing()
        took = time.perf_counter() - began
        missing = [f"there is no {name}" for name in _unseen(scene.prometheus)]
        answered = scene.prometheus.ask("sum(promobandit_requests_total)")
        answers = int(answered[0][1]) if answered else 0
        return Healthy(frozenset(fired), answers, took, (*missing, *_failures(scene)))


def _failures(scene: Scene) -> Iterable[str]:
    yield from scene.complaints
    if scene.load.given_up:
        yield f"{scene.load.given_up} requests were given up"


def _unseen(prometheus: Prometheus) -> list[str]:
    """Return the metrics of the alerts that have no series: silence of them says nothing."""
    rules: dict[str, Any] = yaml.safe_load((DEPLOYED / "rules.yml").read_text())
    wanted = {
        name
        for group in rules["groups"]
        for rule in group["rules"]
        for name in metrics_in(rule["expr"])
    }
    return [name for name in sorted(wanted) if not prometheus.ask(f"count({name})")]
