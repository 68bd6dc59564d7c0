"""Incidents of serving: promises broken fast or slowly, Redis away, nobody there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.faults.proxy import Mode
from tests.faults.stack import Layout
from tests.incidents.callers import SENDS_AT_ONCE, bad_share, send, send_too_many
from tests.incidents.incident import USUAL, Breaking, Incident, Scene

SENDS = "POST /choose/batch"
SMALL_SENDS, SMALL_SENDS_SECONDS = 6, 0.1
LOOK_EVERY = 10
PILE_SECONDS = 5.0
# What follows from a burning budget, and from stores that are away, by itself.
BURNING = frozenset(
    {"PromobanditServingBurns", "PromobanditServingBurnsSlowly", "PromobanditErrorBudgetLow"}
)
WITHOUT_SQL = BURNING | {
    "PromobanditLearningStalled",
    "PromobanditLoopFails",
    "PromobanditOutboxOld",
    "PromobanditServingBurnsFast",
}


@contextmanager
def sends_pile_up(scene: Scene) -> Iterator[None]:
    """Let too many whole sends come at once, again and again."""
    with scene.keeping(lambda: send_too_many(scene), PILE_SECONDS):
        yield


def refused_now_and_then(share: float) -> Breaking:
    """Return the same now and then, so that never more than a share of all sends is refused."""

    @contextmanager
    def breaking(scene: Scene) -> Iterator[None]:
        def work() -> None:
            for _ in range(LOOK_EVERY):
                send(scene, SMALL_SENDS, 1)
                time.sleep(SMALL_SENDS_SECONDS)
            bad, requests = bad_share(scene, SENDS)
            if (bad + SENDS_AT_ONCE) / requests <= share:
                send_too_many(scene)

        with scene.keeping(work, 0.0):
            yield

    return breaking


@contextmanager
def killed(scene: Scene) -> Iterator[None]:
    for api in scene.stack.apis:
        api.kill()
    yield


@contextmanager
def one_hangs(scene: Scene) -> Iterator[None]:
    """Stop the second process; a load balancer takes it out."""
    scene.load.addresses.pop()
    scene.stack.apis[1].pause()
    yield
    scene.stack.apis[1].go_on()


@contextmanager
def without_redis(scene: Scene) -> Iterator[None]:
    scene.stack.redis_proxy.switch(Mode.REFUSE)
    yield
    scene.stack.redis_proxy.mend()


@contextmanager
def without_any_store(scene: Scene) -> Iterator[None]:
    assert scene.stack.sql_proxy is not None
    scene.stack.sql_proxy.switch(Mode.REFUSE)
    with without_redis(scene):
        yield
    scene.stack.sql_proxy.mend()


ROWS = (
    Incident(
        name="Whole sends pile up: more at once than there are places for, the rest gets 503",
        alerts=("PromobanditServingBurnsFast",),
        breaking=sends_pile_up,
        labels={"route": SENDS},
        besides=BURNING,
    ),
    Incident(
        name="One send in a hundred gets 503",
        alerts=("PromobanditServingBurns",),
        breaking=refused_now_and_then(0.011),
        labels={"route": SENDS},
        besides=BURNING,
    ),
    Incident(
        name="Three sends in a thousand get 503",
        alerts=("PromobanditServingBurnsSlowly", "PromobanditErrorBudgetLow"),
        breaking=refused_now_and_then(0.003),
        labels={"route": SENDS},
    ),
    Incident(
        name="Every API process is killed",
        alerts=("PromobanditDown",),
        breaking=killed,
        besides=frozenset({"PromobanditNotScraped"}),
    ),
    Incident(
        name="One of two API processes hangs (SIGSTOP)",
        alerts=("PromobanditNotScraped",),
        breaking=one_hangs,
        layout=Layout(apis=2),
        scraped=2,
        # Both share a directory: the one that answers tells of the one that hangs.
        besides=frozenset({"PromobanditAllocationsOld"}),
    ),
    Incident(
        name="Redis refuses connections while each send is asked for twice at once",
        alerts=("PromobanditFallbacks", "PromobanditConflictingAnswers"),
        breaking=without_redis,
        layout=Layout(apis=2),
        plan=replace(USUAL, twin_share=1.0),
        besides=frozenset({"PromobanditLearningStalled", "PromobanditLoopFails"}),
    ),
    Incident(
        name="Neither Redis nor SQL can be reached",
        alerts=("PromobanditAllocationsOld",),
        breaking=without_any_store,
        besides=WITHOUT_SQL | {"PromobanditFallbacks"},
    ),
)
