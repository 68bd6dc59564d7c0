"""A small honest marketing system: it sends, rewards, and keeps a list of what was acknowledged."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

VARIANTS = [{"id": name, "is_control": name == "a", "payload": {"is": name}} for name in "abc"]


@dataclass
class Marketing:
    """Talks HTTP to one service as a caller would."""

    url: str
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def put(self, experiment: str, **body: object) -> dict[str, Any]:
        """Create or update an experiment of variants a, b, c."""
        answer = self.client.put(f"/experiments/{experiment}", json={"variants": VARIANTS, **body})
        assert answer.status_code in {200, 201}, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def send(self, experiment: str, occasion: str, units: Sequence[str]) -> list[dict[str, Any]]:
        """Choose for many units; the decisions in their order."""
        decisions: list[dict[str, Any]] = []
        for start in range(0, len(units), 10_000):
            body = {"experiment": experiment, "occasion": occasion}
            body["units"] = units[start : start + 10_000]  # type: ignore[assignment]
            answer = self.client.post("/choose/batch", json=body)
            assert answer.status_code == 200, answer.text
            decisions += answer.json()["decisions"]
        return decisions

    def reward(self, decision_ids: Sequence[str]) -> list[str]:
        """Reward many decisions once each; their statuses."""
        statuses: list[str] = []
        for start in range(0, len(decision_ids), 5_000):
            items = [{"decision_id": each} for each in decision_ids[start : start + 5_000]]
            answer = self.client.post("/reward/batch", json={"rewards": items})
            assert answer.status_code == 200, answer.text
            statuses += [result["status"] for result in answer.json()["results"]]
        return statuses

    def report(self, experiment: str) -> dict[str, dict[str, Any]]:
        """Return the report's rows by variant."""
        answer = self.client.get(f"/experiments/{experiment}/report")
        return {row["variant"]: row for row in answer.json()["variants"]}

    def pulls(self, experiment: str) -> int:
        """Return how many decisions the ledger counts."""
        return sum(row["pulls"] for row in self.report(experiment).values())

    def allocation(self, experiment: str) -> dict[str, Any]:
        """Return the allocation in force."""
        found: dict[str, Any] = self.client.get(f"/experiments/{experiment}/allocation").json()
        return found

    def exported(self, experiment: str) -> list[dict[str, Any]]:
        """Return every row of the export."""
        with self.client.stream("GET", f"/experiments/{experiment}/decisions.ndjson") as answer:
            return [json.loads(line) for line in answer.iter_lines() if line]


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition, or fail after so many seconds."""
    deadline = time.perf_counter() + seconds
    while not holds():
        assert time.perf_counter() < deadline, f"did not hold within {seconds} s"
        time.sleep(0.1)


def children(process_id: int, command: str) -> list[psutil.Process]:
    """Return the service's child processes that run one of its commands (api, worker)."""
    found = psutil.Process(process_id).children(recursive=True)
    return [child for child in found if command in _arguments(child)]


def _arguments(process: psutil.Process) -> list[str]:
    try:
        arguments: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return arguments
