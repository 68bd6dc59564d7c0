"""What ties the textbook algorithm, which draws, to the service, which answers exactly."""

import numpy as np
import pytest
from scipy import stats

from service.bandits.evidence import ArmEvidence
from service.bandits.simulation import PosteriorDraw
from service.bandits.thompson import Thompson

DRAWS = 1_000_000

SEEN = {
    "nothing yet": ([0, 0, 0], [0, 0, 0]),
    "e-mail rates": ([4000, 4100, 3900, 4000], [80, 95, 70, 88]),
    "one leader": ([500, 9000], [30, 700]),
    "a new arm among known ones": ([20_000, 20_000, 3], [400, 460, 0]),
}


@pytest.mark.statistical
@pytest.mark.parametrize("case", SEEN)
def test_draws_choose_as_often_as_the_allocation_says(case: str) -> None:
    """A million draws, chi-squared: chance alone fails each case once in 10,000 seeds."""
    pulls, successes = (np.array(numbers, float) for numbers in SEEN[case])
    rng = np.random.default_rng(42)

    exact = Thompson().propensities(ArmEvidence(pulls, successes))

    chosen = np.zeros(pulls.size)
    for _ in range(10):
        wide = np.broadcast_to(pulls, (DRAWS // 10, pulls.size))
        scores = PosteriorDraw(rng)(wide, np.broadcast_to(successes, wide.shape), 0)
        chosen += np.bincount(scores.argmax(axis=1), minlength=pulls.size)
    assert (exact * DRAWS > 5).all()
    assert stats.chisquare(chosen, exact * DRAWS).pvalue > 1e-4
