"""Processor time of one request or unit, part by part: it hardly depends on who else is at work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtests.client import batch_body
from loadtests.sizing.site import PARTS, Measured
from loadtests.wrk import choose_load, reward_load

EXPERIMENT = "load-0000"
UNITS = 10_000  # In a call of many.
SECONDS_MAX = 240.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request, or one unit of a call of many, costs each part."""

    name: str
    count: int
    microseconds: dict[str, float]

    @property
    def per_core(self) -> float:
        """How many a second keep one API process, and so one core, busy."""
        return 1e6 / self.microseconds["API"]


class Load:
    """Makes decisions and rewards, and remembers how many the ledger must have."""

    def __init__(self, service: Measured, directory: Path) -> None:
        self._service = service
        self._directory = directory
        self._pulls = 0
        self._calls = 0
        self.decision_ids: list[str] = []
        service.client.put_experiment(EXPERIMENT)

    def single_choices(self, seconds: int) -> int:
        """Choose for one unit a request."""
        trial = choose_load(self._service.url, f"s{self._calls}-", seconds, "load-")
        self._calls += 1
        self._pulls = self._wait(self._pulls + trial.requests)
        return trial.requests

    def sends(self, calls: int) -> int:
        """Choose for 10,000 units a request; keep the decision ids."""
        for _ in range(calls):
            units = (f"r-{self._calls:04d}{unit:05d}" for unit in range(UNITS))
            body = batch_body(EXPERIMENT, "2026-11-24", units)
            answer = json.loads(self._service.client.choose_batch(body))
            self.decision_ids += [decision["decision_id"] for decision in answer["decisions"]]
            self._calls += 1
        self._pulls = self._wait(self._pulls + calls * UNITS)
        return calls * UNITS

    def single_rewards(self, seconds: int) -> int:
        """Reward one decision a request, each once."""
        tokens = self._directory / "tokens"
        tokens.write_text("".join(f"{each}\n" for each in self.decision_ids))
        trial = reward_load(self._service.url, tokens, seconds)
        del self.decision_ids[: trial.requests + UNITS // 10]
        return trial.requests

    def rewards(self, calls: int) -> int:
        """Reward 10,000 decisions a request, each once."""
        for _ in range(calls):
            ids, self.decision_ids = self.decision_ids[:UNITS], self.decision_ids[UNITS:]
            body = json.dumps({"rewards": [{"decision_id": each} for each in ids]}).encode()
            self._service.client.request("POST", "/reward/batch", body)
        return calls * UNITS

    def _wait(self, pulls: int) -> int:
        """Wait until all is in the ledger; what wrk did not count any more is there too."""
        self._service.client.wait_for_pulls(EXPERIMENT, pulls, SECONDS_MAX)
        return self._service.client.totals(EXPERIMENT)[0]


def costs(service: Measured, load: Load, seconds: int) -> Iterator[Cost]:
    """Measure each kind of request, on a service that has done all of them before."""
    load.single_choices(1)
    load.sends(3)
    load.rewards(1)
    yield _cost(service, "`POST /choose`", lambda: load.single_choices(seconds))
    yield _cost(service, "a unit of `POST /choose/batch`", lambda: load.sends(6 * seconds))
    yield _cost(service, "`POST /reward`", lambda: load.single_rewards(seconds))
    yield _cost(service, "a reward of `POST /reward/batch`", lambda: load.rewards(seconds))


def _cost(service: Measured, name: str, act: Callable[[], int]) -> Cost:
    before = service.seconds()
    count = act()
    after = service.seconds()
    spent = {part: (after[part] - before[part]) / count * 1e6 for part in PARTS if part in after}
    return Cost(name, count, spent)
