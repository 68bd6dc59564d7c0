"""What every measurement is given: where, how long, and what was found so far."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.bench.figures import Rounds
from loadtests.processes import Cores
from loadtests.servers import Site
from loadtests.wrk import Trial

# In the full run; a quick one shows that everything works and little about speed.
ROUNDS = 9
TRIAL_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Run:
    """The settings of one run."""

    cores: Cores
    is_quick: bool = False
    # Every single trial, for whoever wants to see the spread behind a median.
    trials: dict[str, list[Trial]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """How many paired rounds a ratio is the median of."""
        return 2 if self.is_quick else ROUNDS

    @property
    def seconds(self) -> int:
        """How long one trial lasts."""
        return 1 if self.is_quick else TRIAL_SECONDS

    def size(self, full: int) -> int:
        """Return how much of a large amount this run does."""
        return full // 10 if self.is_quick else full

    def keep(self, section: str, rounds: Rounds) -> None:
        """Keep the trials behind a section's figures."""
        for name, trials in rounds.items():
            self.trials[f"{section}: {name}"] = list(trials)

    def say(self, text: str) -> None:
        """Tell whoever waits what is being done."""
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def site(self) -> Iterator[Site]:
        """Give a place for servers, emptied afterwards."""
        # A short path: Unix sockets lie in it, and they may have 107 bytes.
        with tempfile.TemporaryDirectory(prefix="pb-", ignore_cleanup_errors=True) as name:
            site = Site(Path(name), self.cores)
            with site.stack:
                yield site
