"""What a measurement ends in: figures with their bounds, from rounds of paired trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from loadtests.wrk import Trial


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table; without a bound it is only told."""

    name: str
    value: float
    unit: str = ""
    sign: Literal[">=", "<=", ""] = ""
    bound: float = 0.0
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the value keeps its bound."""
        if self.sign == ">=":
            return self.value >= self.bound
        return self.sign == "" or self.value <= self.bound


# A choice that Redis did not answer in time costs less, so it must not count as one that it did.
FALLBACK_PERCENT_MAX = 0.1


def fallback_figure(route: str, fallbacks: int, choices: int) -> Figure:
    """Return the share of choices that were answered without Redis."""
    percent = 100 * fallbacks / choices
    return Figure(f"{route}, answered without Redis", percent, "%", "<=", FALLBACK_PERCENT_MAX)


Rounds = Mapping[str, Sequence[Trial]]


def interleaved(
    trials: Mapping[str, Callable[[str], Trial]], rounds: int
) -> dict[str, list[Trial]]:
    """Run each trial once a round, in turn, so that a slow minute of the machine hits them all.

    A warm-up round goes first and is thrown away. Trials are passed a tag, new for each run.
    """
    found: dict[str, list[Trial]] = {name: [] for name in trials}
    for number in range(rounds + 1):
        for name, trial in trials.items():
            result = trial(f"{name[:8]}{number:02d}-")
            if number > 0:
                found[name].append(result)
    return found


def paired(rounds: Rounds, top: str, bottom: str, read: Callable[[Trial], float]) -> float:
    """Return the median over the rounds of one trial's reading by another's."""
    return median(
        read(above) / read(below) for above, below in zip(rounds[top], rounds[bottom], strict=True)
    )


def middle(trials: Sequence[Trial], read: Callable[[Trial], float]) -> float:
    """Return the median reading."""
    return median(read(trial) for trial in trials)


def rate(trial: Trial) -> float:
    """Read requests per second."""
    return trial.rate


def p99_ms(trial: Trial) -> float:
    """Read the 99th percentile of the latency."""
    return trial.p99_ms


def cost_us(trial: Trial) -> float:
    """Read the microseconds per request at saturation."""
    return trial.cost_us
