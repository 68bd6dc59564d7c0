"""Measure the speed table in one run: `python -m loadtests.bench`, which is `make bench`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from loadtests.bench.batch import measure_batch
from loadtests.bench.choose import measure_choose
from loadtests.bench.figures import Figure
from loadtests.bench.keys import measure_keys
from loadtests.bench.machine import machine, versions
from loadtests.bench.memory import measure_memory
from loadtests.bench.metrics import measure_metrics
from loadtests.bench.overload import measure_overload
from loadtests.bench.report import PAGE, RESULTS, ROOT, facts, page, save, table
from loadtests.bench.rewards import measure_rewards
from loadtests.bench.run import Run
from loadtests.bench.scaling import measure_scaling
from loadtests.bench.start import measure_start
from loadtests.processes import take_cores
from loadtests.wrk import INSTALL_COMMAND, is_installed

SECTIONS: dict[str, Callable[[Run], list[Figure]]] = {
    "start": measure_start,
    "choose": measure_choose,
    "reward": measure_rewards,
    "batch": measure_batch,
    "memory": measure_memory,
    "scaling": measure_scaling,
    "keys": measure_keys,
    "overload": measure_overload,
    "metrics": measure_metrics,
}
EXIT_MISS = 1
EXIT_UNABLE = 2


def main() -> int:
    """Run the sections that were asked for, and return the exit code."""
    options = _options()
    if not is_installed():
        print(f"make bench needs wrk, the load generator: {INSTALL_COMMAND}", file=sys.stderr)
        return EXIT_UNABLE
    started = time.perf_counter()
    about = {"machine": machine(), "versions": versions()}
    run = Run(take_cores(), is_quick=options.quick)
    figures = [figure for name in options.only or SECTIONS for figure in SECTIONS[name](run)]
    save(run, figures, about)
    print(*(facts(title, pairs) for title, pairs in about.items()), "", sep="\n")
    print(table(figures), "", sep="\n")
    print(f"{time.perf_counter() - started:.0f} s; as JSON in {RESULTS.relative_to(ROOT)}")
    if options.write_docs:
        PAGE.write_text(page(figures, about))
    is_missed = any(not figure.is_met for figure in figures)
    return EXIT_MISS if options.strict and is_missed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="measure only this; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="show that it works, not how fast")
    parser.add_argument("--strict", action="store_true", help="end with 1 when a bound is missed")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md anew")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
