"""Run the incidents: `python -m tests.incidents [--only WORD ...] [--write-docs]`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.incidents import healthy, page
from tests.incidents.incident import Incident, Outcome, run
from tests.incidents.prometheus import is_installed
from tests.incidents.table import INCIDENTS

PARALLEL = 6  # Services at a time, on two cores; most of the time they wait.
HEALTHY = "healthy"


def main() -> int:
    """Run what is wanted, tell each row when it is known, and say whether all was as it should."""
    options = _parser().parse_args()
    if not is_installed():
        sys.stderr.write("it takes Prometheus: apt-get install prometheus\n")
        return 1
    began = time.perf_counter()
    wanted = [i for i in INCIDENTS if _is_wanted(options.only, i.name, *i.alerts)]
    with ThreadPoolExecutor(options.parallel + 1) as pool:
        well = pool.submit(_healthy) if _is_wanted(options.only, HEALTHY) else None
        outcomes = list(pool.map(_one, wanted))
        healthy_one = well.result() if well is not None else None
    broken = sum(bool(outcome.broken()) for outcome in outcomes)
    if healthy_one is not None:
        broken += bool(healthy_one.broken())
    took = time.perf_counter() - began
    if options.write_docs and healthy_one is not None:
        page.write(outcomes, healthy_one, took)
    _say(f"{len(outcomes)} incidents in {took:.0f} s, {broken} not as they should be")
    return 1 if broken else 0


def _one(incident: Incident) -> Outcome:
    outcome = run(incident)
    _say(page.line(outcome))
    return outcome


def _healthy() -> healthy.Healthy:
    found = healthy.run()
    _say(page.healthy_line(found))
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.incidents", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], help="only what has one of these words")
    parser.add_argument("--parallel", type=int, default=PARALLEL, help="incidents at a time")
    parser.add_argument("--write-docs", action="store_true", help="write docs/alerts.md")
    return parser


def _is_wanted(words: Sequence[str], *names: str) -> bool:
    text = " ".join(names).lower()
    return not words or any(word.lower() in text for word in words)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
