"""What a choice costs as there are more experiments, and more variants in one."""

from __future__ import annotations

from collections.abc import Callable

from loadtests.bench.figures import Figure, cost_us, interleaved, middle, paired
from loadtests.bench.run import Run
from loadtests.servers import Service
from loadtests.wrk import CONNECTIONS, Trial, choose_load
from service.sla import LEDGER_LAG_SECONDS_MAX

EXPERIMENTS = 5_000
VARIANTS = 100
RATIO_MAX = 1.25


class DrainedTrials:
    """Loads one prefix of experiments and waits until the ledger has it all."""

    def __init__(self, service: Service, seconds: int, prefix: str, experiments: int) -> None:
        self._service = service
        self._seconds = seconds
        self._prefix = prefix
        self._experiments = experiments

    def __call__(self, tag: str) -> Trial:
        """Return the load's trial; the wait is not part of it."""
        before = self._service.client.drained()
        trial = choose_load(
            self._service.url, tag, self._seconds, self._prefix, experiments=self._experiments
        )
        self._service.client.wait_for_drained(before + trial.requests, LEDGER_LAG_SECONDS_MAX)
        return trial


def measure_scaling(run: Run) -> list[Figure]:
    """Compare services that differ only in how many experiments, or variants, they have."""
    experiments = run.size(EXPERIMENTS)
    with run.site() as site:
        few, many = site.service(), site.service()
        run.say(f"scaling: creating {experiments:,} experiments")
        few.client.put_experiment("load-0000")
        for number in range(experiments):
            many.client.put_experiment(f"load-{number:04d}")
        # Both services have the same two kinds of variants beside, so that they differ in nothing.
        few.client.put_experiment("wide-0000", variants=VARIANTS)
        trials: dict[str, Callable[[str], Trial]] = {
            "one": DrainedTrials(few, run.seconds, "load-", 1),
            "many": DrainedTrials(many, run.seconds, "load-", experiments),
            "wide": DrainedTrials(few, run.seconds, "wide-", 1),
        }
        run.say(f"scaling: {run.rounds} rounds of {run.seconds} s on each of 3 loads")
        rounds = interleaved(trials, run.rounds)
        run.keep("scaling", rounds)
    one = middle(rounds["one"], cost_us)

    def figure(name: str, load: str) -> Figure:
        note = f"{one:.1f} -> {middle(rounds[load], cost_us):.1f} us at {CONNECTIONS} connections"
        ratio = paired(rounds, load, "one", cost_us)
        return Figure(f"cost of a choice, {name}", ratio, "x", "<=", RATIO_MAX, note)

    return [
        figure(f"1 to {experiments:,} running experiments", "many"),
        figure(f"2 to {VARIANTS} variants", "wide"),
    ]
