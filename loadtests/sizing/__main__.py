"""Measure what the service takes of a machine: `python -m loadtests.sizing --write-docs`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from loadtests.bench.machine import machine, versions
from loadtests.processes import Cores
from loadtests.servers import Site
from loadtests.sizing.costs import Cost, Load, costs
from loadtests.sizing.page import PAGE, Found, page
from loadtests.sizing.site import Measured, measured
from loadtests.sizing.stores import Growth, growths, outbox_growth

SECONDS = 5  # Of each load of single requests; of many units a call, as many calls.
CALLS = 30  # Of 10,000 units, for the bytes.


def main() -> int:
    """Measure on both ledgers, and show or write the page."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.sizing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="show that it works")
    parser.add_argument("--write-docs", action="store_true", help="write docs/sizing.md anew")
    options = parser.parse_args()
    about = {"machine": machine(), "versions": versions()}
    found = Found({}, [], {}, about)
    with tempfile.TemporaryDirectory(prefix="pb-", ignore_cleanup_errors=True) as name:
        found = _measure(Path(name), 1 if options.quick else SECONDS, about)
    text = page(found)
    print(text)
    if options.write_docs:
        PAGE.write_text(text)
    return 0


def _measure(directory: Path, seconds: int, about: dict[str, dict[str, str]]) -> Found:
    site = Site(directory, Cores(0, 0))  # Nobody is pinned: processor time is counted, not rates.
    all_costs: dict[str, list[Cost]] = {}
    all_growths: list[Growth] = []
    memory: dict[str, float] = {}
    with site.stack:
        for name, url in (("PostgreSQL", site.postgres()), ("SQLite", "")):
            print(f"measuring on {name}", file=sys.stderr, flush=True)
            with measured(site, url) as service:
                load = Load(service, directory)
                all_costs[name] = list(costs(service, load, seconds))
                all_growths += growths(service, load, CALLS if seconds == SECONDS else 2)
                decisions = service.client.totals("load-0000")[0]
                memory |= _memory(service, name)
            if url:
                all_growths.append(outbox_growth(service.data_dir, decisions))
    return Found(all_costs, all_growths, memory, about)


def _memory(service: Measured, sql: str) -> dict[str, float]:
    processes = service.processes()
    return {
        f"{part} on {sql}": processes[part].memory_info().rss / 1e6 for part in ("API", "worker")
    }


if __name__ == "__main__":
    raise SystemExit(main())
