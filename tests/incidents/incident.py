"""An incident: what is broken, which alert has to tell, and what else may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import httpx

from tests.faults.load import Load, Plan
from tests.faults.scenario import put
from tests.faults.stack import Layout, Stack
from tests.incidents.prometheus import Alert, Prometheus, prometheus

EXPERIMENT = "spring"
# What callers do all the time: enough for each alert's minimum count, little for the machine.
USUAL = Plan(choices_a_second=15.0, rewards_a_second=4.0, batches_a_second=0.5)
REPORT_SECONDS = 2.0
WARM_SECONDS = 50.0  # Three scrapes: what grows is seen only against what was.
POLL_SECONDS = 1.0
# Of the service's own loops: those that are slow because nothing hurries are quick here.
INTERVALS = {
    "PROMOBANDIT_AUDIT_SECONDS": "15",
    "PROMOBANDIT_SNAPSHOT_SECONDS": "10",
    "PROMOBANDIT_LEARNING_PAGE_SECONDS": "5",
}
_STARTING = threading.Lock()


@dataclass(slots=True)
class Scene:
    """A service at work under load, and the Prometheus that watches it."""

    stack: Stack
    load: Load
    prometheus: Prometheus
    complaints: list[str] = field(default_factory=list)

    def post(self, path: str, body: object) -> httpx.Response:
        """Post to the first API process."""
        return httpx.post(f"{self.stack.url}{path}", json=body, timeout=10)

    @contextmanager
    def keeping(self, work: Callable[[], object], seconds: float) -> Iterator[None]:
        """Do something again and again until the block ends; the first failure is a complaint."""
        over = threading.Event()

        def repeat() -> None:
            while not over.is_set():
                try:
                    work()
                except Exception as error:  # noqa: BLE001  Whatever it is, the row has to tell.
                    self.complaints.append(f"a caller failed: {error!r}")
                    return
                over.wait(seconds)

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


Breaking: TypeAlias = Callable[[Scene], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One row: the block of `breaking` lasts until all its alerts have fired, or too long."""

    name: str
    alerts: tuple[str, ...]
    breaking: Breaking
    labels: dict[str, str] = field(default_factory=dict)  # The alerts have them.
    besides: frozenset[str] = frozenset()  # What may fire as well.
    layout: Layout = Layout()  # noqa: RUF009  It is frozen.
    plan: Plan = field(default_factory=lambda: replace(USUAL))
    scraped: int = 1  # So many API processes: those that share a directory tell the same.
    seconds_max: float = 400.0
    body: dict[str, Any] = field(default_factory=dict)  # Of the experiment, beside its variants.

    def is_told_by(self, alert: Alert) -> bool:
        """Whether an alert is one that has to fire."""
        return alert.name in self.alerts and alert.has(self.labels)


@dataclass(frozen=True, slots=True)
class Outcome:
    """After how many seconds each alert fired, by name, and all that fired."""

    incident: Incident
    seconds: dict[str, float] = field(default_factory=dict)
    fired: frozenset[Alert] = frozenset()
    complaints: tuple[str, ...] = ()

    @property
    def others(self) -> set[str]:
        """The names of what fired besides."""
        return {alert.name for alert in self.fired if not self.incident.is_told_by(alert)}

    def broken(self) -> list[str]:
        """Tell what was not as it should be."""
        found = list(self.complaints)
        found += [
            f"{name} did not fire" for name in self.incident.alerts if name not in self.seconds
        ]
        found += [f"{name} fired" for name in sorted(self.others - self.incident.besides)]
        return found


def run(incident: Incident) -> Outcome:
    """Break a service of its own, and wait for the alert."""
    try:
        with at_work(incident.layout, incident.plan, incident.scraped, incident.body) as scene:
            return _watched(incident, scene)
    except Exception as error:  # noqa: BLE001  The other rows are wanted all the same.
        reason = (str(error).strip().splitlines() or [""])[-1]
        return Outcome(incident, complaints=(f"{type(error).__name__}: {reason[-300:]}",))


@contextmanager
def _started(layout: Layout) -> Iterator[Stack]:
    """Start one service at a time: a start takes all cores, and others are at work."""
    with ExitStack() as ends:
        with _STARTING:
            stack = ends.enter_context(Stack(_quickened(layout)))
        yield stack


@contextmanager
def at_work(layout: Layout, plan: Plan, scraped: int, body: dict[str, Any]) -> Iterator[Scene]:
    """Run a service that has been at work for a while, healthy."""
    with _started(layout) as stack:
        put(stack, EXPERIMENT, **body)
        load = Load(list(stack.addresses), EXPERIMENT, replace(plan))
        with prometheus(stack.directory / "prometheus", stack.ports[:scraped]) as server:
            scene = Scene(stack, load, server)
            load.start()
            try:
                with scene.keeping(lambda: _read_a_report(stack), REPORT_SECONDS):
                    time.sleep(WARM_SECONDS)
                    yield scene
            finally:
                load.stop()
                scene.complaints += load.errors[:3]


def _watched(incident: Incident, scene: Scene) -> Outcome:
    fired = scene.prometheus.firing()
    complaints = [f"{alert.name} fired before" for alert in fired]
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    with incident.breaking(scene):
        while len(seconds) < len(incident.alerts):
            time.sleep(POLL_SECONDS)
            now, elapsed = scene.prometheus.firing(), time.perf_counter() - began
            fired |= now
            for alert in filter(incident.is_told_by, now):
                seconds.setdefault(alert.name, elapsed)
            if elapsed > incident.seconds_max:
                break
    return Outcome(incident, seconds, frozenset(fired), (*complaints, *scene.complaints))


def _read_a_report(stack: Stack) -> None:
    """Ask as an analyst does, who tries again later when it does not work."""
    with suppress(httpx.TransportError):
        httpx.get(f"{stack.url}/experiments/{EXPERIMENT}/report", timeout=5)


def _quickened(layout: Layout) -> Layout:
    environment = {**INTERVALS, **dict(layout.environment)}
    return replace(layout, environment=tuple(environment.items()))
