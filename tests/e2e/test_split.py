"""Served choices against their logged propensities, over HTTP, floor and holdout on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from service.bootstrap.system import SystemClock
from service.domain.allocation import Allocation
from service.domain.clock import SECOND_MS
from service.domain.decision import Decision, Source, decision_key
from service.domain.quality import CheckState
from service.quality.split import SplitCheck
from service.store.sql_allocations import SqlAllocationStore
from service.store.sql_experiments import SqlExperimentStore
from service.store.sql_ledger import SqlLedger
from service.store.sql_split import SqlSplitStore
from tests.e2e.marketing import VARIANTS, Marketing, wait_until
from tests.servers import promobandit_service
from tests.sql_stores import opened

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
NAMES = [str(variant["id"]) for variant in VARIANTS]
POLICIES = ["ucb1", "ucb1_tuned", "kl_ucb", "bayes_ucb"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("split") / "data"


@pytest.fixture(scope="module")
def marketing(data: Path) -> Iterator[Marketing]:
    with promobandit_service(data) as service:
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


async def test_the_watch_finds_nothing_until_somebody_tilts_the_sampler(
    learned: Marketing, data: Path
) -> None:
    """Chance alone fails one run in 1,000; it never brings the tilted sampler below an alarm."""
    learned.put("watched", exploration_floor=0.05, holdout={"share": 0.1, "kind": "uniform"})
    decisions = learned.send("watched", "first", [f"w-{i}" for i in range(10_000)])
    learned.reward([d["decision_id"] for d in decisions if d["variant"] == "b"][:300])
    wait_until(lambda: learned.allocation("watched")["version"] > 1)
    decisions += learned.send("watched", "second", [f"w-{i}" for i in range(10_000)])
    decisions += [choose_among(learned, f"w-{i}", ["b", "c"]) for i in range(200)]
    wait_until(lambda: learned.pulls("watched") == 20_200)
    steered = sum(not d["holdout"] for d in decisions)

    async with opened(f"sqlite:///{data}/ledger.db") as database:
        ledger, splits = SqlLedger(database), SqlSplitStore(database)
        experiment = await SqlExperimentStore(database).get(1, "watched")
        check = SplitCheck(splits, SystemClock())
        honest = await check.judge(experiment, SystemClock().now_ms())
        differences = await ledger.recount(experiment.number)
        head = await SqlAllocationStore(database).head(experiment.number)
        assert head is not None
        for batch in tilted(head, 5_000):
            await ledger.append(batch, [])
        biased = await check.judge(experiment, SystemClock().now_ms() + SECOND_MS)

    assert differences == []
    assert honest.state is CheckState.ok, honest
    assert (honest.figures["decisions"], honest.figures["unjudged"]) == (steered, 0)
    assert biased.state is CheckState.alarm, biased
    assert biased.figures["decisions"] == steered + 5_000


def choose_among(marketing: Marketing, unit: str, eligible: list[str]) -> dict[str, Any]:
    """Choose for a unit that may get only some variants."""
    body = {"experiment": "watched", "unit": unit, "occasion": "some", "eligible": eligible}
    answer = marketing.client.post("/choose", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def tilted(allocation: Allocation, count: int) -> Iterator[list[Decision]]:
    """Yield decisions of a sampler that moves a tenth of the leader's share to the control."""
    rng, shares = np.random.default_rng(20261124), np.array(allocation.propensities)
    moved = 0.1 * shares.max()
    shares[shares.argmax()] -= moved
    shares[allocation.control] += moved
    for start in range(0, count, 1_000):
        variants = rng.choice(shares.size, 1_000, p=shares)
        yield [
            Decision(
                key=decision_key(1, allocation.experiment, f"tilted-{start + i}", ""),
                tenant=1,
                experiment=allocation.experiment,
                variant=int(variant),
                propensity=allocation.propensities[variant],
                source=int(Source.policy),
                holdout=False,
                version=allocation.version,
                key_id=1,
                decided_at_ms=SystemClock().now_ms(),
                unit=f"tilted-{start + i}",
                occasion="",
            )
            for i, variant in enumerate(variants)
        ]
