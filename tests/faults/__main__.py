"""Run the fault laboratory: `python -m tests.faults [--quick] [--only WORD ...] [--write-docs]`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.faults import page
from tests.faults.laboratory import Laboratory, grouped
from tests.faults.scenario import Outcome, Scenario
from tests.faults.table import SCENARIOS


def main() -> int:
    """Run scenarios, tell each row when it is known, and say whether all promises held."""
    options = _parser().parse_args()
    began = time.perf_counter()
    found: list[Outcome] = []
    with Laboratory() as laboratory:
        for scenario in grouped(_wanted(options)):
            found.append(laboratory.run(scenario))
            _say(page.line(found[-1]))
    if options.write_docs:
        page.write(found, SCENARIOS, time.perf_counter() - began)
    broken = [outcome for outcome in found if outcome.broken(is_timed=True)]
    took = time.perf_counter() - began
    _say(f"{len(found)} scenarios in {took:.0f} s, {len(broken)} with a broken promise")
    return 1 if broken or not found else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only those that make test runs")
    parser.add_argument("--only", nargs="+", default=[], help="only names with all these words")
    parser.add_argument("--write-docs", action="store_true", help="write docs/reliability.md")
    return parser


def _wanted(options: argparse.Namespace) -> list[Scenario]:
    words = [word.lower() for word in options.only]
    return [
        scenario
        for scenario in SCENARIOS
        if (scenario.is_quick or not options.quick)
        and all(word in scenario.name.lower() for word in words)
    ]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
