"""Rewards, ledger-first: their rate on SQLite and on PostgreSQL against the bare floor."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

from loadtests.bench.figures import Figure, interleaved, middle, paired, rate
from loadtests.bench.run import Run
from loadtests.client import batch_body
from loadtests.servers import Service
from loadtests.wrk import CONNECTIONS, LoadError, Trial, reward_load
from service.sla import LEDGER_LAG_SECONDS_MAX

EXPERIMENT = "load-0000"
RATIO_MIN = 0.25
BATCH = 10_000
# A trial that runs out of decision ids is refused, so there are far more than the last one used.
FIRST_RATE_GUESS = 15_000
MARGIN = 1.6


class RewardTrials:
    """Makes decisions, waits until they are in the ledger, and rewards each once."""

    def __init__(self, service: Service, directory: Path, seconds: int) -> None:
        self._service = service
        self._directory = directory
        self._seconds = seconds
        self._expected = FIRST_RATE_GUESS * seconds
        self._batches = count()
        self._decisions = 0
        self.acknowledged = 0
        self.runs = 0

    def __call__(self, tag: str) -> Trial:
        """Load the service with rewards of decisions that nobody has rewarded before."""
        tokens = self._directory / f"{tag}tokens"
        self._write_tokens(tokens)
        trial = reward_load(self._service.url, tokens, self._seconds)
        tokens.unlink()
        self._expected = int(trial.requests * MARGIN)
        self.acknowledged += trial.requests
        self.runs += 1
        return trial

    def _write_tokens(self, path: Path) -> None:
        client, made = self._service.client, 0
        with path.open("w") as file:
            while made < self._expected + CONNECTIONS:
                start = next(self._batches)
                units = (f"r{start:05d}-{i:05d}" for i in range(BATCH))
                answer = json.loads(client.choose_batch(batch_body(EXPERIMENT, "send", units)))
                file.writelines(f"{decision['decision_id']}\n" for decision in answer["decisions"])
                made += BATCH
        self._decisions += made
        client.wait_for_pulls(EXPERIMENT, self._decisions, LEDGER_LAG_SECONDS_MAX)

    def lost(self) -> int:
        """Return how many acknowledged rewards the ledger has not."""
        _, rewards = self._service.client.totals(EXPERIMENT)
        if rewards > self.acknowledged + self.runs * CONNECTIONS:
            raise LoadError(f"{rewards} rewards counted of {self.acknowledged} acknowledged")
        return max(self.acknowledged - int(rewards), 0)


def measure_rewards(run: Run) -> list[Figure]:
    """Measure /reward on both ledgers."""
    with run.site() as site:
        services = {"SQLite": site.service(), "PostgreSQL": site.service(site.postgres())}
        for service in services.values():
            service.client.put_experiment(EXPERIMENT)
        rewards = {
            name: RewardTrials(service, site.directory, run.seconds)
            for name, service in services.items()
        }
        bare = site.floor("reward")
        any_tokens = site.directory / "floor-tokens"
        any_tokens.write_text(("A" * 72 + "\n") * 1_000_000)

        def floor(tag: str) -> Trial:  # noqa: ARG001  The floor reads no decision id.
            return reward_load(bare, any_tokens, run.seconds)

        run.say(f"reward: {run.rounds} rounds of {run.seconds} s on each of 3 servers")
        trials: dict[str, Callable[[str], Trial]] = {**rewards, "bare": floor}
        rounds = interleaved(trials, run.rounds)
        run.keep("reward", rounds)
        floor_rate = middle(rounds["bare"], rate)
        figures = [
            Figure(
                f"/reward on {name} by the bare uvicorn floor",
                paired(rounds, name, "bare", rate),
                "x",
                ">=",
                RATIO_MIN,
                f"{middle(rounds[name], rate):,.0f} of {floor_rate:,.0f} a second",
            )
            for name in services
        ]
        lost = sum(trial.lost() for trial in rewards.values())
        return [*figures, Figure("acknowledged rewards not in the ledger", lost, "", "<=", 0)]
