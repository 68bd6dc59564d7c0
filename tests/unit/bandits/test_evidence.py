"""What counts as evidence."""

import numpy as np
import pytest

from service.bandits.evidence import ArmEvidence


def test_evidence_knows_its_arms() -> None:
    assert ArmEvidence.none(4).n_arms == 4


@pytest.mark.parametrize(
    ("pulls", "successes"),
    [
        ([1.0], [1.0, 2.0]),
        ([], []),
        ([-1.0], [0.0]),
        ([1.0], [-1.0]),
        ([np.nan], [0.0]),
        ([np.inf], [0.0]),
    ],
)
def test_impossible_evidence_is_refused(pulls: list[float], successes: list[float]) -> None:
    with pytest.raises(ValueError, match="pulls and successes"):
        ArmEvidence(np.array(pulls), np.array(successes))


def test_a_table_is_not_evidence() -> None:
    with pytest.raises(ValueError, match="one number per arm"):
        ArmEvidence(np.zeros((2, 2)), np.zeros((2, 2)))


def test_rewards_ahead_of_their_decisions_are_evidence() -> None:
    assert ArmEvidence(np.array([1.0]), np.array([3.0])).successes[0] == 3.0
