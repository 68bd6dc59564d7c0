"""The simulated marketing system: its waves, its recipients, and what the demo says of them."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from loadtests.demo_view import Progress, bar, curve, pen_of, picture
from loadtests.simulation import HILLSTROM_RATES, Recipients, Tally, Wave, waves_of

CUSTOMERS = 20_000


def visits_of(variants: list[str]) -> list[str]:
    recipients = Recipients(HILLSTROM_RATES, CUSTOMERS, 1.0, np.random.default_rng(7))
    decisions = [{"decision_id": "d", "variant": variant} for variant in variants]
    visits = recipients.react(Wave("wave-001", range(CUSTOMERS)), decisions, 0.0)
    return [visit.event_id for visit in visits]


def test_every_customer_is_in_exactly_one_wave() -> None:
    waves = waves_of(1_050, 500)

    assert [len(wave.customers) for wave in waves] == [500, 500, 50]
    assert len({unit for wave in waves for unit in wave.units}) == 1_050
    assert len({wave.occasion for wave in waves}) == 3


def test_recipients_visit_at_the_true_rates() -> None:
    # Five standard errors: chance alone fails this once in 600,000 seeds, and never this one.
    rate = len(visits_of(["mens"] * CUSTOMERS)) / CUSTOMERS
    standard_error = (HILLSTROM_RATES["mens"] * (1 - HILLSTROM_RATES["mens"]) / CUSTOMERS) ** 0.5

    assert abs(rate - HILLSTROM_RATES["mens"]) < 5 * standard_error


def test_whoever_visits_after_a_worse_mail_would_after_a_better_one() -> None:
    assert set(visits_of(["none"] * CUSTOMERS)) < set(visits_of(["mens"] * CUSTOMERS))


def test_an_even_split_gains_nothing_against_itself() -> None:
    tally = Tally()
    tally.sends.update(mens=100, womens=100, none=100)
    progress = Progress(HILLSTROM_RATES, CUSTOMERS, 60.0, tally)

    assert progress.gained == pytest.approx(0.0)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_picture_shows_every_share_at_common_widths(width: int) -> None:
    console = Console(width=width, force_terminal=True)
    progress = Progress(HILLSTROM_RATES, CUSTOMERS, 60.0, Tally())
    lines = [{"variant": v, "allocation": 1 / 3} for v in HILLSTROM_RATES]
    for version in range(300):
        progress.saw({"allocation_version": version, "variants": lines})

    with console.capture() as captured:
        console.print(picture(progress, pen_of(console)))

    assert captured.get().count("33%") == 3


def test_bars_and_curves_stay_within_their_cells() -> None:
    pen = pen_of(Console(width=80))

    assert len(bar(1.2, pen)) == len(bar(-0.1, pen)) == pen.bar_cells
    assert len(curve([0.1, 0.2], pen)) == 2
    assert len(curve([0.5] * 1_000, pen)) == pen.curve_cells
