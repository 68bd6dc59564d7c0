"""`make demo`: the service, a simulated marketing system on real visit rates, and a live view."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.live import Live

from loadtests.demo_service import DemoService, demo_service
from loadtests.demo_view import (
    Progress,
    addresses,
    line,
    pen_of,
    picture,
    regret_table,
    report_table,
)
from loadtests.simulation import (
    EVENT,
    HILLSTROM_CUSTOMERS,
    HILLSTROM_RATES,
    DemoError,
    MarketingSystem,
    Recipients,
    Wave,
    waves_of,
)
from service.sla import LEDGER_LAG_SECONDS_MAX

EXPERIMENT = "hillstrom"
WAVE_SIZE = 500
SECONDS = 60.0
SEED = 20_080_320  # The day the test's data was posted.
DELAY_SHARE = 0.02  # Mean time from e-mail to visit, as a share of the whole demo.
TICK_S = 0.1
LOOKS_PER_RUN = 120  # How often the report is read and drawn.
LINES_PER_RUN = 12
WIDTH_WITHOUT_TERMINAL = 110


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long to send mail (60)")
    parser.add_argument("--port", type=int, help="where to serve (8000, or a free one)")
    parser.add_argument("--data-dir", type=Path, help="keep the data here (a temporary directory)")
    parser.add_argument("--seed", type=int, default=SEED, help="of recipients and their delays")
    parser.add_argument("--no-live", action="store_true", help="plain lines instead of a picture")
    parser.add_argument("--exit", action="store_true", help="end afterwards, service and all")
    return parser.parse_args()


def main() -> int:
    """Run the demo; Ctrl-C at any time stops the service too."""
    options = arguments()
    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else WIDTH_WITHOUT_TERMINAL, highlight=False)
    for number in (signal.SIGTERM, signal.SIGHUP):  # They stop the service too, in order.
        signal.signal(number, signal.default_int_handler)
    try:
        console.print("Starting the service ...")
        with demo_service(options.port, options.data_dir) as service:
            experiment = run(service, options, console)
            if not options.exit:
                _leave_running(service, console, experiment)
    except KeyboardInterrupt:
        console.print("Stopped.")
    except (DemoError, httpx.HTTPError) as error:
        console.print(f"The demo failed: {error}", style="red", markup=False)
        return 1
    return 0


def run(service: DemoService, options: argparse.Namespace, console: Console) -> str:
    """Create the experiment, send every wave, and print what came of it."""
    with httpx.Client(base_url=service.url, timeout=30.0) as client:
        experiment = _create(client)
        rng = np.random.default_rng(options.seed)
        delay_s = DELAY_SHARE * options.seconds
        recipients = Recipients(HILLSTROM_RATES, HILLSTROM_CUSTOMERS, delay_s, rng)
        system = MarketingSystem(client, experiment, recipients, rng)
        progress = Progress(HILLSTROM_RATES, HILLSTROM_CUSTOMERS, options.seconds, system.tally)
        with _view(progress, console, is_live=console.is_terminal and not options.no_live) as draw:
            for report in _sending(client, experiment, system, progress):
                progress.saw(report)
                draw()
        report = _settled_report(client, experiment, system)
    console.print(report_table(report, HILLSTROM_RATES))
    console.print(regret_table(system.tally, HILLSTROM_RATES))
    console.print(_balance(system))
    return experiment


def _create(client: httpx.Client) -> str:
    """Create the experiment, under a new name where kept data has it already."""
    number = 1
    experiment = EXPERIMENT
    while client.get(f"/experiments/{experiment}").is_success:
        number += 1
        experiment = f"{EXPERIMENT}-{number}"
    body = {
        "variants": [
            {"id": "none", "is_control": True, "payload": {"subject": "(no e-mail)"}},
            {"id": "womens", "payload": {"subject": "New for women"}},
            {"id": "mens", "payload": {"subject": "New for men"}},
        ],
        "policy": {"name": "thompson"},
        "reward": {"kind": "binary", "events": {EVENT: 1.0}, "window": "P14D"},
    }
    answer = client.put(f"/experiments/{experiment}", json=body)
    if not answer.is_success:
        raise DemoError(f"PUT answered {answer.status_code}: {answer.text[:300]}")
    return experiment


@contextmanager
def _view(progress: Progress, console: Console, *, is_live: bool) -> Iterator[Any]:
    """Give the function that shows the state of the demo: a picture, or now and then a line."""
    if not is_live:
        yield _Lines(progress, console)
        return
    pen = pen_of(console)
    with Live(console=console, auto_refresh=False) as live:
        yield lambda: live.update(picture(progress, pen), refresh=True)


class _Lines:
    """Prints a line each time a part of the demo has passed."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        self._printed = -1

    def __call__(self) -> None:
        part = int(min(1.0, self._progress.elapsed_s / self._progress.seconds) * LINES_PER_RUN)
        if part > self._printed:
            self._printed = part
            self._console.print(line(self._progress), markup=False)


def _sending(
    client: httpx.Client, experiment: str, system: MarketingSystem, progress: Progress
) -> Iterator[Mapping[str, Any]]:
    """Send the waves at an even pace, report visits as they happen, and look at the report."""
    waves = waves_of(progress.customers, WAVE_SIZE)
    started = time.perf_counter()
    looked_s = -progress.seconds
    sent = 0
    while sent < len(waves) or system.visits_coming:
        progress.elapsed_s = time.perf_counter() - started
        if sent < len(waves) and progress.elapsed_s >= sent * progress.seconds / len(waves):
            _send(system, sent, waves[sent], progress)
            sent += 1
        system.report_visits(progress.elapsed_s)
        if progress.elapsed_s >= looked_s + progress.seconds / LOOKS_PER_RUN:
            looked_s = progress.elapsed_s
            yield _report(client, experiment)
        next_s = sent * progress.seconds / len(waves)
        time.sleep(max(0.0, min(TICK_S, next_s - (time.perf_counter() - started))))
    yield _report(client, experiment)


def _send(system: MarketingSystem, number: int, wave: Wave, progress: Progress) -> None:
    before = time.perf_counter()
    requests = system.send(number, wave, progress.elapsed_s)
    progress.send_s = (time.perf_counter() - before) / requests
    progress.send_size = len(wave.customers)


def _report(client: httpx.Client, experiment: str) -> dict[str, Any]:
    answer = client.get(f"/experiments/{experiment}/report")
    if not answer.is_success:
        raise DemoError(f"the report answered {answer.status_code}: {answer.text[:300]}")
    report: dict[str, Any] = answer.json()
    return report


def _settled_report(
    client: httpx.Client, experiment: str, system: MarketingSystem
) -> dict[str, Any]:
    """Wait until the ledger has every send, and hold it to what the marketing system counted."""
    deadline = time.perf_counter() + LEDGER_LAG_SECONDS_MAX
    wanted = (system.tally.sends, system.tally.visits)
    while True:
        report = _report(client, experiment)
        counted = tuple(
            Counter({each["variant"]: each[name] for each in report["variants"]})
            for name in ("pulls", "rewards")
        )
        if counted == wanted:
            return report
        if time.perf_counter() > deadline:
            raise DemoError(f"sends and visits were {wanted}, the report counts {counted}")
        time.sleep(TICK_S)


def _balance(system: MarketingSystem) -> str:
    tally = system.tally
    return (
        f"\nThe report counts {tally.sends.total():,} sends and {tally.visits.total():,} visits, "
        f"as the marketing system did.\n{tally.retried:,} sends were asked for twice and "
        f"{tally.repeated:,} visits reported twice: counted once."
    )


def _leave_running(service: DemoService, console: Console, experiment: str) -> None:
    listed = addresses(service.url, experiment)
    console.print(f"\nThe service is still running:\n{listed}", soft_wrap=True)
    console.print("Ctrl-C stops it.")
    code = service.process.wait()
    raise DemoError(f"the service ended by itself with code {code}")


if __name__ == "__main__":
    sys.exit(main())
