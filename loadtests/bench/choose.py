"""One choice at a time: its rate against the three floors, and its tail latency."""

from __future__ import annotations

from loadtests.bench.figures import (
    Figure,
    Rounds,
    fallback_figure,
    interleaved,
    middle,
    p99_ms,
    paired,
    rate,
)
from loadtests.bench.run import Run
from loadtests.bench.tails import open_loop_figures
from loadtests.servers import Service
from loadtests.wrk import CONNECTIONS, LoadError, Trial, choose_load
from service.sla import CHOOSE_P99_MS, LEDGER_LAG_SECONDS_MAX

EXPERIMENT_PREFIX = "load-"
EXPERIMENT = "load-0000"
FLOOR_RATIO_MIN = 0.45
FASTAPI_RATIO_MIN = 2.5
USUAL_RATIO_MIN = 6.0
P99_RATIO_MAX = 4.0


class ChooseTrials:
    """Loads the service with choices and sees that the ledger gets every one acknowledged."""

    def __init__(self, service: Service, seconds: int) -> None:
        self._service = service
        self._seconds = seconds
        self.acknowledged = 0
        self.runs = 0

    def __call__(self, tag: str) -> Trial:
        """Load the service, then let the worker catch up: the next trial is a floor's."""
        trial = choose_load(self._service.url, tag, self._seconds, EXPERIMENT_PREFIX)
        self.acknowledged += trial.requests
        self.runs += 1
        self._service.client.wait_for_pulls(EXPERIMENT, self.acknowledged, LEDGER_LAG_SECONDS_MAX)
        return trial

    def lost(self) -> int:
        """Return how many acknowledged choices the ledger has not, or raise if it has too many."""
        pulls, _ = self._service.client.totals(EXPERIMENT)
        # Those in flight when a run ended were answered, but wrk did not count them.
        if pulls > self.acknowledged + self.runs * CONNECTIONS:
            raise LoadError(f"{pulls} pulls of {self.acknowledged} acknowledged choices")
        return max(self.acknowledged - pulls, 0)


def measure_choose(run: Run) -> list[Figure]:
    """Measure /choose with an occasion, durable, while the worker drains."""
    with run.site() as site:
        service = site.service()
        service.client.put_experiment(EXPERIMENT)
        choices = ChooseTrials(service, run.seconds)
        bare = site.floor("choose")
        floors = {
            "bare": bare,
            "fastapi": site.floor("fastapi"),
            "usual": site.floor("usual", site.redis()),
        }
        loads = {
            name: lambda tag, url=url: choose_load(url, tag, run.seconds, EXPERIMENT_PREFIX)
            for name, url in floors.items()
        }
        run.say(f"choose: {run.rounds} rounds of {run.seconds} s on each of 4 servers")
        rounds = interleaved({"service": choices, **loads}, run.rounds)
        run.keep("choose", rounds)
        fallbacks = service.client.fallbacks()
        lost = Figure("acknowledged choices not in the ledger", choices.lost(), "", "<=", 0)
        saturation = middle(rounds["service"], rate)
        return [
            *_rates(rounds),
            *_tails(rounds),
            *open_loop_figures(run, service, bare, saturation / 2),
            fallback_figure("/choose", fallbacks, choices.acknowledged),
            lost,
        ]


def _rates(rounds: Rounds) -> list[Figure]:
    def figure(name: str, floor: str, bound: float) -> Figure:
        note = (
            f"{middle(rounds['service'], rate):,.0f} of {middle(rounds[floor], rate):,.0f} a second"
        )
        return Figure(
            f"/choose by {name}", paired(rounds, "service", floor, rate), "x", ">=", bound, note
        )

    return [
        figure("the bare uvicorn floor", "bare", FLOOR_RATIO_MIN),
        figure("an empty FastAPI endpoint", "fastapi", FASTAPI_RATIO_MIN),
        figure("the usual read-draw-write design", "usual", USUAL_RATIO_MIN),
    ]


def _tails(rounds: Rounds) -> list[Figure]:
    name = f"/choose p99, closed loop of {CONNECTIONS}"
    ratio = paired(rounds, "service", "bare", p99_ms)
    p99 = middle(rounds["service"], p99_ms)
    note = f"floor {middle(rounds['bare'], p99_ms):.2f} ms"
    return [
        Figure(f"{name}, by the floor's", ratio, "x", "<=", P99_RATIO_MAX),
        Figure(name, p99, "ms", "<=", CHOOSE_P99_MS, note),
    ]
