"""Whether the rate of rewards, or what one is worth, changed suddenly."""

from __future__ import annotations

import asyncio

from service.bandits.changes import Change, least_probable, newest_rates, newest_values
from service.domain.experiment import Experiment
from service.quality.past import EDGES, Past, PastReader
from service.quality.verdicts import CheckState, Verdict
from service.quality.words import count, duration, percent

WARNING_PROBABILITY = 1e-5
ALARM_PROBABILITY = 1e-6
CHANGE_MIN = 0.25  # A smaller part more or less is not worth a word, however certain.
KIND_VALUE = "value"
_FINE = "Decisions of the last hours convert as those of the weeks before did at the same age."
_LITTLE = "There is too little to tell: a few days of sends and some 50 conversions are needed."


class RewardRateCheck:
    """Compares newest decisions with earlier ones of the same variant at the same age."""

    name = "reward_rate"

    def __init__(self, reader: PastReader) -> None:
        self._reader = reader

    async def judge(self, experiment: Experiment, now_ms: int) -> Verdict:
        """Return the verdict of now."""
        past = await self._reader.past(experiment, now_ms)
        # Some milliseconds of arithmetic, which commits must not wait for.
        return await asyncio.to_thread(self._judge, past, experiment.reward.kind)

    def _judge(self, past: Past, kind: str) -> Verdict:
        as_of = past.now - past.lag_hours()
        rates = newest_rates(past.grid, EDGES, as_of)
        values = newest_values(past.grid, as_of) if kind == KIND_VALUE else []
        if not rates and not values:
            return Verdict(self.name, CheckState.ok, _LITTLE)
        rate, value = least_probable(rates, CHANGE_MIN), least_probable(values, CHANGE_MIN)
        worst = min((c for c in (rate, value) if c), key=lambda c: c.probability, default=None)
        if worst is None or worst.probability >= WARNING_PROBABILITY:
            return Verdict(self.name, CheckState.ok, _FINE, _figures(worst))
        is_alarm = worst.probability < ALARM_PROBABILITY
        sentence = _of_rate(worst) if worst is rate else _of_value(worst)
        state = CheckState.alarm if is_alarm else CheckState.warning
        return Verdict(self.name, state, sentence, _figures(worst))


def _of_rate(change: Change) -> str:
    return (
        f"{duration(change.hours).capitalize()} of newest decisions that were "
        f"{duration(change.age)} old had {count(change.observed)} conversions where about "
        f"{count(change.expected)} were to be expected by the weeks before: {_difference(change)}."
    )


def _of_value(change: Change) -> str:
    return (
        f"Conversions of the newest {duration(change.hours)} are worth {_difference(change)} "
        "than those of the weeks before."
    )


def _difference(change: Change) -> str:
    if change.ratio < 1.0:
        return f"{percent(1.0 - change.ratio)} less"
    return f"{percent(change.ratio - 1.0)} more"


def _figures(change: Change | None) -> dict[str, float]:
    if change is None:
        return {}
    return {
        "observed": change.observed,
        "expected": change.expected,
        "ratio": change.ratio,
        "probability": change.probability,
        "hours": float(change.hours),
        "age_hours": change.age,
    }
