"""Served choices against their logged propensities, over HTTP, floor and holdout on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.e2e.marketing import VARIANTS, Marketing, wait_until
from tests.servers import promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
NAMES = [str(variant["id"]) for variant in VARIANTS]
POLICIES = ["ucb1", "ucb1_tuned", "kl_ucb", "bayes_ucb"]


@pytest.fixture(scope="module")
def marketing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Marketing]:
    directory: Path = tmp_path_factory.mktemp("split") / "data"
    with promobandit_service(directory) as service:
        marketing = Marketing(service.url)
        with marketing.client:
            yield marketing


@pytest.fixture(scope="module")
def learned(marketing: Marketing) -> Marketing:
    """Make the allocation uneven: a converts in 30 % of cases, b and c in 10 %."""
    marketing.put("split", exploration_floor=0.05, holdout={"share": 0.1, "kind": "uniform"})
    rng = np.random.default_rng(20261124)
    decisions = marketing.send("split", "first", [f"first-{i}" for i in range(3_000)])
    rate = {"a": 0.16, "b": 0.12, "c": 0.12}
    won = [d["decision_id"] for d in decisions if rng.random() < rate[d["variant"]]]
    assert set(marketing.reward(won)) == {"accepted"}
    wait_until(lambda: marketing.pulls("split") == 3_000)
    wait_until(lambda: _leading(marketing) > 0.4)
    return marketing


def _leading(marketing: Marketing) -> float:
    rows = marketing.allocation("split")["variants"]
    return float(max(row["propensity"] for row in rows))


def vectors(decisions: list[dict[str, Any]]) -> dict[tuple[int, bool], np.ndarray]:
    """Return the whole propensity vector of each (allocation version, group) that was served."""
    found: dict[tuple[int, bool], dict[str, float]] = {}
    for decision in decisions:
        group = found.setdefault((decision["allocation_version"], decision["holdout"]), {})
        known = group.setdefault(decision["variant"], decision["propensity"])
        assert known == decision["propensity"] > 0  # One version, one vector.
    return {
        group: np.array([by_name.get(name, np.nan) for name in NAMES])
        for group, by_name in found.items()
    }


def split_p_value(decisions: list[dict[str, Any]]) -> float:
    """Return the p-value of the split test: Z'V^-Z against chi-square with K - 1 degrees."""
    vector_of = vectors(decisions)
    total, covariance = np.zeros(len(NAMES)), np.zeros((len(NAMES), len(NAMES)))
    used = 0
    for decision in decisions:
        e = vector_of[decision["allocation_version"], decision["holdout"]]
        if np.isnan(e).any():  # A version so short-lived that a variant never came up.
            continue
        used += 1
        total[NAMES.index(decision["variant"])] += 1
        total -= e
        covariance += np.diag(e) - np.outer(e, e)
    assert used >= 0.99 * len(decisions)
    statistic = total @ np.linalg.pinv(covariance) @ total
    return float(stats.chi2.sf(statistic, len(NAMES) - 1))


def test_units_sent_once_follow_their_propensities(learned: Marketing) -> None:
    """The split of 200,000 units; the salt is random, so chance alone fails 1 run in 1,000."""
    decisions = learned.send("split", "once", [f"u-{i}" for i in range(200_000)])

    assert len({d["decision_id"] for d in decisions}) == 200_000
    assert split_p_value(decisions) > 0.001


def test_units_sent_a_hundred_times_follow_their_propensities(learned: Marketing) -> None:
    """The split of 2,000 units x 100 occasions; chance alone fails 1 run in 1,000."""
    units = [f"loyal-{i}" for i in range(2_000)]
    sends = [learned.send("split", f"week-{week}", units) for week in range(100)]

    assert split_p_value([d for send in sends for d in send]) > 0.001
    groups = [[d["holdout"] for d in send] for send in sends]
    assert all(group == groups[0] for group in groups)  # The holdout is stable.


def test_logged_vectors_sum_to_one(learned: Marketing) -> None:
    decisions = learned.send("split", "again", [f"u-{i}" for i in range(20_000)])
    whole = [vector for vector in vectors(decisions).values() if not np.isnan(vector).any()]

    assert whole
    assert all(vector.sum() == pytest.approx(1, abs=1e-12) for vector in whole)


@pytest.mark.parametrize("policy", POLICIES)
def test_one_send_before_any_reward_stays_near_an_even_split(
    marketing: Marketing, policy: str
) -> None:
    """A share's standard error is 0.15 points: 5 points are 33 of them, chance never fails this."""
    marketing.put(policy, policy={"name": policy})
    decisions = marketing.send(policy, "launch", [f"u-{i}" for i in range(100_000)])
    shares = [sum(d["variant"] == name for d in decisions) / 100_000 for name in NAMES]

    assert max(shares) <= 1 / 3 + 0.05
