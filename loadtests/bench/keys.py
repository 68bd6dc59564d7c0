"""What a key and its rate limit cost a choice."""

from __future__ import annotations

import subprocess
import sys

from loadtests.bench.choose import EXPERIMENT, EXPERIMENT_PREFIX
from loadtests.bench.figures import Figure, interleaved, middle, paired, rate
from loadtests.bench.run import Run
from loadtests.servers import Service
from loadtests.wrk import Trial, choose_load
from service.sla import LEDGER_LAG_SECONDS_MAX

RATIO_MIN = 0.92  # Keys and limits may cost 8 % of the rate.
RATE_MAX = 1_000_000  # A limit that is counted and never reached.


def measure_keys(run: Run) -> list[Figure]:
    """Measure /choose at a service with keys and at one without, in turn."""
    with run.site() as site:
        unguarded, guarded = site.service(), site.service()
        unguarded.client.put_experiment(EXPERIMENT)
        guarded.client.put_experiment(EXPERIMENT)
        key = _key(guarded)
        guarded.client.key = key
        guarded.client.wait_until_closed()
        run.say(f"keys: {run.rounds} rounds of {run.seconds} s on each of 2 services")
        rounds = interleaved(
            {"with": Loads(guarded, run.seconds, key), "without": Loads(unguarded, run.seconds)},
            run.rounds,
        )
        run.keep("keys", rounds)
    note = f"{middle(rounds['with'], rate):,.0f} of {middle(rounds['without'], rate):,.0f} a second"
    ratio = paired(rounds, "with", "without", rate)
    return [Figure("/choose with a key and a limit, by without", ratio, "x", ">=", RATIO_MIN, note)]


class Loads:
    """Loads one service, and lets its worker catch up before the other's turn."""

    def __init__(self, service: Service, seconds: int, key: str = "") -> None:
        self._service = service
        self._seconds = seconds
        self._key = key
        self._acknowledged = 0

    def __call__(self, tag: str) -> Trial:
        """Load it once."""
        trial = choose_load(self._service.url, tag, self._seconds, EXPERIMENT_PREFIX, key=self._key)
        self._acknowledged += trial.requests
        self._service.client.wait_for_pulls(EXPERIMENT, self._acknowledged, LEDGER_LAG_SECONDS_MAX)
        return trial


def _key(service: Service) -> str:
    """Make a key that may do all that the bench does."""
    command = [sys.executable, "-m", "service", "keys", "create"]
    command += ["--data-dir", str(service.data_dir), "--rate", str(RATE_MAX)]
    for scope in ("choose", "report", "metrics", "admin"):
        command += ["--scope", scope]
    made = subprocess.run(command, check=True, capture_output=True, text=True)
    return next(word for word in made.stdout.split() if word.startswith("pb_"))
