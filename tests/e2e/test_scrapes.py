"""A scrape of any process tells of all of them, and of how each experiment learns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.marketing import Marketing, wait_until
from tests.servers import RunningService, promobandit_service

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SENDS = 40


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    path: Path = tmp_path_factory.mktemp("scrapes")
    env = {"PROMOBANDIT_LEARNING_PAGE_SECONDS": "0.2"}
    with promobandit_service(path / "data", "--workers", "2", env=env) as running:
        yield running


def scrape(service: RunningService) -> dict[str, float]:
    """Return each series of a scrape over a new connection, which any process may answer."""
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {series.removeprefix("promobandit_"): float(value) for series, _, value in pairs}


def scrapers(service: RunningService) -> list[psutil.Process]:
    found = psutil.Process(service.process.pid).children(recursive=True)
    return [each for each in found if "service.metrics.scraper" in each.cmdline()]


def test_a_scrape_sums_all_processes_and_shows_the_learning_page(service: RunningService) -> None:
    marketing = Marketing(service.url)
    marketing.put("spring")
    decisions = []
    for number in range(SENDS):  # Each over a connection of its own: both processes answer some.
        body = {"experiment": "spring", "unit": f"u{number}", "occasion": "o"}
        decisions.append(httpx.post(f"{service.url}/choose", json=body).json())
    marketing.reward([decisions[0]["decision_id"]])
    marketing.client.close()
    variant = decisions[0]["variant"]
    rewarded = f'rewarded_decisions_total{{experiment="spring",variant="{variant}"}}'
    wait_until(lambda: scrape(service).get(rewarded) == 1, 20)

    decided = 'decisions_total{experiment="spring",source="policy"}'
    # The others flush twice a second.
    wait_until(lambda: scrape(service)[decided] == SENDS, 5)
    wait_until(lambda: scrape(service)["reward_lag_seconds_count"] == 1, 5)
    shown = scrape(service)
    pulls = [value for name, value in shown.items() if name.startswith("pulls_total{")]
    assert sum(pulls) == SENDS
    assert shown['pending_decisions{experiment="spring"}'] == SENDS - 1
    assert shown['store_pool_connections{state="max",store="reports"}'] == 4  # Two processes' two.
    assert shown['loop_success_timestamp_seconds{loop="page"}'] > 0


def test_a_scraper_that_was_killed_is_started_again(service: RunningService) -> None:
    scrape(service)
    victims = scrapers(service)
    for victim in victims:
        victim.kill()
    psutil.wait_procs(victims, timeout=5)

    for _ in range(20):  # Enough for each process to have been asked.
        assert "outbox_age_seconds" in scrape(service)
    assert 1 <= len(scrapers(service)) <= 2
    assert not {each.pid for each in victims} & {each.pid for each in scrapers(service)}
