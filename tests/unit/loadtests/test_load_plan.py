"""A load is sent as its shape says, and read as the service tells it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter

import psutil
import pytest

from loadtests.load.readings import counters_of
from loadtests.load.sender import Target, decisions_needed, plan
from loadtests.load.shapes import AVERAGE, PEAK, SENDER_RATES, SENDER_REWARDS, SHAPES, Shape
from loadtests.load.target import address_of
from loadtests.load.watch import (
    Sample,
    Watch,
    data_growth_of,
    growth_of,
    own_descriptors,
    role_in,
    uses_of,
)
from loadtests.open_loop import Planned
from service.sla import OBJECTIVES

PAGE = """\
# TYPE promobandit_fallbacks_total counter
promobandit_fallbacks_total{reason="redis"} 2.0
promobandit_fallbacks_total{reason="deadline"} 3.0
promobandit_outbox_bytes 1.5e+06
"""


def planned(shape: Shape, seconds: float) -> list[Planned]:
    ids = [f"decision-{number}" for number in range(decisions_needed(shape, seconds))]
    return list(plan(shape, seconds, Target(("localhost", 80), "spring", "pb_key", ids)))


def test_every_promised_route_is_sent_to_at_its_rate_in_order_of_time() -> None:
    sent = planned(AVERAGE, 10.0)

    counts = Counter(each.route for each in sent)
    assert counts == {name: 10 * rate for name, rate in SENDER_RATES.items()}
    assert set(counts) == {objective.name for objective in OBJECTIVES}
    assert sent == sorted(sent, key=lambda each: each.meant_at)


def test_a_peak_brings_three_times_as_much_in_its_third_stage() -> None:
    times = [each.meant_at for each in planned(PEAK, 10.0) if each.route == "POST /choose"]

    per_stage = [sum(begin <= at < end for at in times) for begin, end in ((0, 2), (4, 8))]
    assert per_stage == pytest.approx([240, 3 * 480], abs=1)


def test_every_decision_is_rewarded_at_most_once() -> None:
    messages = [each.message for each in planned(PEAK, 5.0) if "reward" in each.route]

    ids = [part.split(b'"')[2] for each in messages for part in each.split(b"decision_id")[1:]]
    assert len(set(ids)) == len(ids) > SENDER_REWARDS


def test_every_request_carries_the_key() -> None:
    assert all(b"Authorization: Bearer pb_key\r\n" in e.message for e in planned(AVERAGE, 2.0))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=lambda shape: shape.name)
def test_a_shape_has_somebody_of_each_kind_all_the_time(shape: Shape) -> None:
    assert min(shape.users.values()) >= 1
    assert {each.route for each in planned(shape, 3.0)} == set(SENDER_RATES)
    assert shape.factor(0.0) == shape.factor(1.0) == 1.0
    assert shape.stages[-1].until == 1.0


def test_a_counter_is_the_sum_over_its_labels() -> None:
    read = counters_of(PAGE)

    assert read["fallbacks_total"] == 5.0
    assert read["outbox_bytes"] == 1.5e6
    assert read["never_heard_of"] == 0.0


@pytest.mark.parametrize("url", ["https://there:1", "http://there:1/path", "there:1", "http://"])
def test_an_address_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        address_of(url)


def test_a_role_is_read_from_the_command_line() -> None:
    lines = {
        "python -P -m service api --fd 3": "api",
        "python -P -m service worker --nice": "worker",
        "python -m service serve --port 1": "serve",
        "python -m service.metrics.scraper": "scraper",
        "redis-server unixsocket:/run/r.sock": "redis",
        "sh -c true": "other",
    }

    assert {line: role_in(line.split()) for line in lines} == lines


def sample(at: float, role: str, unique: int, descriptors: int = 40) -> Sample:
    return Sample(at, role, 2, unique, 2 * unique, descriptors, busy=at / 4)


def test_growth_is_counted_from_the_warm_up_by_medians_and_data_is_apart() -> None:
    api = [sample(at, "api", 50 if at < 25 else 100 if at < 70 else 103) for at in range(101)]
    spike = [sample(95.5, "api", 10_000)]
    redis = [sample(at, "redis", 100 + at) for at in range(101)]

    (growth,) = growth_of([*api, *spike, *redis])
    data = data_growth_of(redis)

    assert (growth.role, growth.memory_before, growth.memory_after) == ("api", 100, 103)
    assert data is not None
    assert (data.memory_before, data.memory_after) == (132.5, 192.5)


def test_who_was_there_for_a_moment_has_not_grown() -> None:
    api = [sample(at, "api", 100) for at in range(101)]

    assert [each.role for each in growth_of([*api, sample(50, "other", 1)])] == ["api"]
    assert data_growth_of(api) is None


def test_a_process_that_ends_while_it_is_looked_at_does_not_end_the_watch() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    gone, here = Watch(ended.pid), Watch(os.getpid())
    for watch in (gone, here):
        watch.look(1.0)

    assert gone.samples == []
    assert {each.at for each in here.samples} == {1.0}


def test_processor_time_is_told_in_cores() -> None:
    (use,) = uses_of([sample(at, "api", 100) for at in range(101)])

    assert (use.cores, use.processes, use.unique) == (0.25, 2, 100)


def test_a_connection_that_a_client_left_open_is_ours_once_the_client_is_gone() -> None:
    own = psutil.Process()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = own_descriptors(own)
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        connected = own_descriptors(own)
        client.close()
        left = own_descriptors(own)
        accepted.close()

    assert connected == before + 1  # The client's own end, for it is us as well.
    assert left == before + 1  # Nobody is there any more, and we still hold it.


def test_the_tests_have_nothing_to_do_with_gevent() -> None:
    assert "gevent" not in sys.modules
