"""The quick part of the fault laboratory: statuses and books; times are judged by `make faults`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.laboratory import Laboratory, grouped
from tests.faults.scenario import Scenario
from tests.faults.table import SCENARIOS

# One process runs them all, so that those of one layout share a stack.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("faults")]
QUICK = grouped([scenario for scenario in SCENARIOS if scenario.is_quick])


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    with Laboratory(is_brief=True) as laboratory:
        yield laboratory


@pytest.mark.parametrize("scenario", QUICK, ids=lambda scenario: scenario.name)
def test_nothing_acknowledged_is_lost_or_counted_twice(
    laboratory: Laboratory, scenario: Scenario
) -> None:
    outcome = laboratory.run(scenario)

    assert outcome.broken(is_timed=False) == []
