"""How long `promobandit serve` takes until it is ready, in a new folder and in the same again."""

from __future__ import annotations

from loadtests.bench.figures import Figure
from loadtests.bench.run import Run
from loadtests.processes import on_all
from loadtests.servers import running_service

SECOND_START_SECONDS_MAX = 5.0


def measure_start(run: Run) -> list[Figure]:
    """Measure a first and a second start, each to the first 200 of /readyz."""
    run.say("start: twice in the same folder")
    seconds = []
    with run.site() as site, on_all(run.cores):
        for _ in range(2):
            with running_service(site.directory / "data", run.cores) as service:
                seconds.append(service.start_seconds)
    first, second = seconds
    return [
        Figure("first start to ready", first, "s"),
        Figure("second start to ready", second, "s", "<=", SECOND_START_SECONDS_MAX),
    ]
