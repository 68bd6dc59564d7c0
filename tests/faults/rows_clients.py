"""What callers do: send again, hang up, send the same thing a hundred times."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.faults.ledger import head, rewards
from tests.faults.load import Plan
from tests.faults.proxy import Mode
from tests.faults.scenario import Lab, Scenario
from tests.faults.verdict import key_of
from tests.servers import free_port

TIMES = 100
DECISIONS = 5
ALL = "hundred"  # The event id that they have in common.


@contextmanager
def answers_lost(lab: Lab) -> Iterator[None]:
    """Put a proxy in front of the API that resets one in three connections before the answer."""
    proxy = lab.stack.proxy(("127.0.0.1", free_port()), lab.stack.addresses[0])
    whole = list(lab.load.addresses)
    assert isinstance(proxy.listen, tuple)
    lab.load.addresses[:] = [proxy.listen]
    proxy.switch(Mode.RESET_AFTER_APPLY, every=3)
    yield
    lab.load.addresses[:] = whole
    proxy.mend()
    lab.expect(proxy.resets > 0, "no answer was lost")


@contextmanager
def stampede(lab: Lab) -> Iterator[None]:
    """Hold the process until all callers have given up, and let them all come back at once."""
    lab.stack.apis[0].pause()
    yield
    lab.stack.apis[0].go_on()


@contextmanager
def everything_hangs(lab: Lab) -> Iterator[None]:
    """Let Redis and SQL hang together."""
    assert lab.stack.sql_proxy is not None
    lab.stack.redis_proxy.switch(Mode.BLACK_HOLE)
    lab.stack.sql_proxy.switch(Mode.BLACK_HOLE)
    yield
    lab.stack.sql_proxy.mend()
    lab.stack.redis_proxy.mend()


@contextmanager
def hanging_up(lab: Lab) -> Iterator[None]:
    lab.load.plan.hang_up_share = 0.5
    yield
    lab.load.plan.hang_up_share = 0.0


@contextmanager
def hundredfold(lab: Lab) -> Iterator[None]:
    """Send each of five rewards a hundred times at once, under one event id."""
    rewarded = {key for key, _ in lab.load.sent}
    fresh = [d.decision_id for d in lab.load.decided if d.decision_id not in rewarded][-DECISIONS:]
    lab.expect(len({key_of(each) for each in fresh}) == DECISIONS, "they were sent already")
    lab.stack.more["hundredfold"] = fresh
    for decision_id in fresh:
        lab.load.sent.add((decision_id, ALL))
        statuses = asyncio.run(_post_often(lab, decision_id))
        lab.expect(
            statuses == Counter({"accepted": 1, "duplicate": TIMES - 1}),
            f"{TIMES} identical rewards were answered {dict(statuses)}",
        )
    yield


def counted_once_each(lab: Lab) -> None:
    """Check that each decision has this reward once, and converts."""
    number, _ = head(lab.stack, lab.experiment)
    found = Counter(key_of(key) for key, event_id in rewards(lab.stack, number) if event_id == ALL)
    asked = Counter(key_of(each) for each in lab.stack.more["hundredfold"])
    lab.expect(found == asked, f"of {len(asked)} rewards {found.total()} are recorded")


async def _post_often(lab: Lab, decision_id: str) -> Counter[str]:
    body = {"decision_id": decision_id, "event_id": ALL}
    limits = httpx.Limits(max_connections=TIMES)
    async with httpx.AsyncClient(base_url=lab.stack.url, limits=limits, timeout=30) as client:
        answers = await asyncio.gather(*(client.post("/reward", json=body) for _ in range(TIMES)))
    return Counter(answer.json().get("status") for answer in answers)


IMPATIENT = Plan(impatient_share=1.0)
ROWS = (
    Scenario(
        name="Answers to callers lost after they were applied, one in three",
        fault=answers_lost,
        keeps_choosing=False,
        is_quick=True,
    ),
    Scenario(
        name="API process held 3 s; all callers send again at once, no back-off",
        fault=stampede,
        plan=IMPATIENT,
        keeps_choosing=False,
    ),
    Scenario(
        name="Redis and SQL hang together; callers without back-off",
        fault=everything_hangs,
        plan=IMPATIENT,
    ),
    Scenario(
        name="Half of the callers hang up in the middle of a request",
        fault=hanging_up,
        reward_statuses=(200,),
        is_quick=True,
    ),
    Scenario(
        name="100 identical rewards at once, five times",
        fault=hundredfold,
        reward_statuses=(200,),
        check=counted_once_each,
        is_quick=True,
    ),
)
