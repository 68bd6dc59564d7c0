"""What metrics cost: counting them, and scrapes of a thousand experiments."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from loadtests.bench.figures import Figure, Rounds, cost_us, interleaved, middle, paired, rate
from loadtests.bench.run import Run
from loadtests.client import Client
from loadtests.open_loop import http_request, open_loop
from loadtests.servers import Service
from loadtests.wrk import Trial, choose_load
from service.sla import LEDGER_LAG_SECONDS_MAX

EXPERIMENTS = 1_000
VARIANTS = 3
PREFIX = "load-"
SHARE_MAX = 0.05  # Of the rate of /choose.
SCRAPE_MS_MAX = 250.0
SCRAPES = 20
WARM_UP_SCRAPES = 4  # Each API process starts its scraper with its first one.
SCRAPE_EVERY_SECONDS = 1.0
PAGE_SECONDS_MAX = 120.0  # Until the worker has allocated all experiments, and shown that.
OPEN_RATE = 500.0
OPEN_SECONDS = 20.0
HANG_UP_EVERY = 25  # Rewards, so that both processes get some.

# What one choice counts, when it is alone in its batch: more cost each less.
_COUNT = """
import time
from service.metrics import Metrics
metrics, count = Metrics(), 200_000
started = time.perf_counter()
for number in range(count):
    metrics.decided("load-0001", "policy", 1)
    metrics.batch_size("choice", 1)
    metrics.requested("/choose", 200, 0.003, "POST")
metrics.flush()
print((time.perf_counter() - started) / count * 1e6)
"""


def measure_metrics(run: Run) -> list[Figure]:
    """Measure /choose while it is scraped and while it is not, and the scrapes themselves."""
    with run.site() as site:
        service = site.service(workers=2)
        run.say(f"metrics: creating {EXPERIMENTS:,} experiments")
        for number in range(EXPERIMENTS):
            service.client.put_experiment(f"{PREFIX}{number:04d}", VARIANTS)
        _reward_each(service.client)
        series = _wait_for_page(service.client)
        scrapes = _scrapes(service)
        run.say(f"metrics: {run.rounds} rounds of {run.seconds} s, scraped and not")
        loads: dict[str, Callable[[str], Trial]] = {
            "scraped": _Scraped(service, run.seconds, is_scraped=True),
            "alone": _Scraped(service, run.seconds, is_scraped=False),
        }
        rounds = interleaved(loads, run.rounds)
        run.keep("metrics", rounds)
        seconds = run.size(int(OPEN_SECONDS))
        alone = _longest_ms(service, seconds, is_scraped=False)
        scraped = _longest_ms(service, seconds, is_scraped=True)
    lag = f"longest wait of a choice at {OPEN_RATE:g} a second, scraped every second"
    return [
        *_costs(rounds),
        _scrape_figure(scrapes, series),
        Figure(lag, scraped, "ms", note=f"not scraped {alone:.1f} ms"),
    ]


def _costs(rounds: Rounds) -> list[Figure]:
    counting = median(_counting_us() for _ in range(3))
    share = counting / middle(rounds["alone"], cost_us)
    told = f"{middle(rounds['scraped'], rate):,.0f} of {middle(rounds['alone'], rate):,.0f} /s"
    by_alone = paired(rounds, "scraped", "alone", rate)
    name = "/choose while scraped every second, by not scraped"
    return [
        Figure(name, by_alone, "x", ">=", 1 - SHARE_MAX, told),
        Figure(
            "counting, of the time a choice takes",
            100 * share,
            "%",
            "<=",
            100 * SHARE_MAX,
            f"{counting:.2f} us",
        ),
    ]


def _scrape_figure(scrapes: list[float], series: int) -> Figure:
    name, longest = f"scrape of {EXPERIMENTS:,} experiments, median", max(scrapes) * 1_000
    note = f"{series:,} series, longest {longest:.0f} ms"
    return Figure(name, median(scrapes) * 1_000, "ms", "<=", SCRAPE_MS_MAX, note)


def _reward_each(client: Client) -> None:
    """Choose and reward once in every experiment."""
    for number in range(EXPERIMENTS):
        body = {"experiment": f"{PREFIX}{number:04d}", "unit": "first", "occasion": "first"}
        decision = json.loads(client.request("POST", "/choose", json.dumps(body).encode()))
        reward = {"decision_id": decision["decision_id"]}
        client.request("POST", "/reward", json.dumps(reward).encode())
        if number % HANG_UP_EVERY == 0:
            client.hang_up()


def _wait_for_page(client: Client) -> int:
    """Wait until the page has every figure of all experiments; return the series of a scrape."""
    deadline = time.perf_counter() + PAGE_SECONDS_MAX
    while True:
        text = client.request("GET", "/metrics")
        if text.count(b"\npromobandit_reward_delay_seconds{") == 2 * EXPERIMENTS:
            return sum(not line.startswith(b"#") for line in text.splitlines())
        if time.perf_counter() > deadline:
            raise TimeoutError("the learning page does not show all experiments")
        time.sleep(0.5)


def _scrapes(service: Service) -> list[float]:
    """Return how long some scrapes took, each over a connection of its own."""
    found = [_scrape_seconds(service) for _ in range(WARM_UP_SCRAPES + SCRAPES)]
    return found[WARM_UP_SCRAPES:]


def _scrape_seconds(service: Service) -> float:
    client = Client(int(service.url.rpartition(":")[2]))
    started = time.perf_counter()
    client.request("GET", "/metrics")
    seconds = time.perf_counter() - started
    client.hang_up()
    return seconds


@contextmanager
def _scraping(service: Service) -> Iterator[None]:
    """Scrape every second, as long as the block lasts."""
    stop = threading.Event()

    def scrape() -> None:
        while not stop.is_set():
            spent = _scrape_seconds(service)
            stop.wait(max(0.0, SCRAPE_EVERY_SECONDS - spent))

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@dataclass(slots=True)
class _Scraped:
    """Loads the service, scraped meanwhile or not, and waits until the ledger has it all."""

    service: Service
    seconds: int
    is_scraped: bool = field(kw_only=True)

    def __call__(self, tag: str) -> Trial:
        client = self.service.client
        before = client.drained()
        if self.is_scraped:
            with _scraping(self.service):
                trial = self._load(tag)
        else:
            trial = self._load(tag)
        client.wait_for_drained(before + trial.requests, LEDGER_LAG_SECONDS_MAX)
        return trial

    def _load(self, tag: str) -> Trial:
        return choose_load(self.service.url, tag, self.seconds, PREFIX, experiments=EXPERIMENTS)


def _longest_ms(service: Service, seconds: float, *, is_scraped: bool) -> float:
    """Return the longest latency in an open loop, whose requests leave whatever happens."""
    port, tag = int(service.url.rpartition(":")[2]), "s" if is_scraped else "a"
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, context) as pool:
        pending = pool.submit(_latencies, port, seconds, tag)
        if is_scraped:
            with _scraping(service):
                latencies = pending.result()
        else:
            latencies = pending.result()
    return max(latencies) * 1_000


def _latencies(port: int, seconds: float, tag: str) -> list[float]:
    def request(number: int) -> bytes:
        body = b'{"experiment":"load-%04d","unit":"%s%09d","occasion":"lag"}'
        return http_request("/choose", body % (number % EXPERIMENTS, tag.encode(), number))

    return open_loop(port, OPEN_RATE, seconds, request)


def _counting_us() -> float:
    command = [sys.executable, "-c", _COUNT]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
