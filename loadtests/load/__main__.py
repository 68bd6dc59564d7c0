"""Load the service and say whether it kept its promises: `python -m loadtests.load`."""

from __future__ import annotations

import signal
import sys

from loadtests.bench.machine import machine
from loadtests.client import RefusedError
from loadtests.load.ceiling import Step, rows, steps
from loadtests.load.options import Options, options_of
from loadtests.load.page import PAGE, page
from loadtests.load.run import run
from loadtests.load.saved import save
from loadtests.load.tables import Told, columns, text
from loadtests.load.target import own_target, running_target
from loadtests.open_loop import OpenLoopError

EXIT_BROKEN = 1
EXIT_UNABLE = 2
EXIT_STOPPED = 130  # As a shell says it of Ctrl-C.


def main() -> int:
    """Run one shape, print what was found, and return the exit code."""
    options = options_of()
    for number in (signal.SIGTERM, signal.SIGHUP):  # They stop the service too, in order.
        signal.signal(number, signal.default_int_handler)
    about = machine()  # Before we are the load ourselves.
    found: list[Step] = []
    try:
        told = _told(options)
        print(text(told), flush=True)
        save(told)
        if options.is_ceiling_wanted:
            found = list(steps(options, _told))
            print(f"\n{columns(rows(found))}")
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return EXIT_STOPPED
    except (OSError, OpenLoopError, RefusedError, RuntimeError, ValueError) as error:
        print(f"The load test could not be run: {error}", file=sys.stderr)
        return EXIT_UNABLE
    if options.is_documented and (
        told.broken or not told.shape.is_timed
    ):  # A busy machine is nothing to publish.
        print(
            f"{PAGE.name} stays as it is: only a timed run that passes is written.", file=sys.stderr
        )
    elif options.is_documented:
        PAGE.write_text(page(told, about, found))
    return EXIT_BROKEN if told.broken else 0


def _told(options: Options) -> Told:
    if options.url:
        with running_target(options.url, options.key) as service:
            return run(service, options)
    print("Starting the service ...", file=sys.stderr, flush=True)
    with own_target(options.workers, options.stores) as service:
        return run(service, options)


if __name__ == "__main__":
    raise SystemExit(main())
