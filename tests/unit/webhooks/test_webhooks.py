"""Messages are signed as receivers expect, tried again until taken, and at last given up."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from service.domain.clock import DAY_MS, SECOND_MS
from service.domain.webhook import SECRET_BYTES
from service.errors import StateConflictError
from service.metrics import Metrics
from service.quality import CheckState, QualityChange
from service.store.memory_access import MemoryActStore
from service.store.memory_webhooks import MemoryWebhookStore
from service.webhooks import Announcer, Deliverer, Webhooks
from service.webhooks.deliverer import KEPT_MS, PAUSES_MS
from service.webhooks.signing import signed_headers
from service.webhooks.subscriptions import DELIVERIES_SHOWN
from service.worker.announce import QualityAnnouncements
from tests.receivers import Receiver
from tests.store_records import NOW_MS, HandClock

CHANGE = QualityChange(
    tenant=1,
    number=7,
    experiment="spring-sale",
    check="split",
    before=CheckState.ok,
    after=CheckState.alarm,
    sentence="More than chance gives.",
    at_ms=NOW_MS,
)


@dataclass
class Rig:
    """Webhooks over memory."""

    clock: HandClock = field(default_factory=HandClock)
    receiver: Receiver = field(default_factory=Receiver)
    metrics: Metrics = field(default_factory=Metrics)
    store: MemoryWebhookStore = field(default_factory=lambda: MemoryWebhookStore(MemoryActStore()))

    def __post_init__(self) -> None:
        self.announcements = QualityAnnouncements(Announcer(self.store))
        self.webhooks = Webhooks(
            store=self.store,
            make_secret=lambda: b"s" * SECRET_BYTES,
            private_hosts=(),
            clock=self.clock,
        )

    @property
    def deliverer(self) -> Deliverer:
        """Return a new one, as after a restart."""
        return Deliverer(self.store, self.receiver, self.clock, self.metrics)

    def counted(self, outcome: str) -> float | None:
        """Return how often an attempt ended so."""
        name = "promobandit_webhook_deliveries_total"
        return self.metrics.registry.get_sample_value(name, {"outcome": outcome})


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.webhooks.put(1, "data-team", "https://hooks.example.com/x", "ada")
    return rig


def test_a_signature_is_the_one_of_the_published_example() -> None:
    secret = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'

    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", secret, body, 1_614_265_330)

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


async def test_a_change_is_told_once_however_often_it_is_announced(rig: Rig) -> None:
    await rig.announcements.changed(CHANGE)
    await rig.announcements.changed(CHANGE)

    await rig.deliverer.turn()
    await rig.deliverer.turn()

    ((url, headers, body),) = rig.receiver.received
    assert url == "https://hooks.example.com/x"
    assert headers["webhook-id"].startswith("msg_")
    assert headers["webhook-timestamp"] == str(NOW_MS // SECOND_MS)
    told = json.loads(body)
    assert told["type"] == "quality.changed"
    assert told["timestamp"].endswith("Z")
    assert told["data"] == {
        "experiment": "spring-sale",
        "check": "split",
        "before": "ok",
        "after": "alarm",
        "sentence": "More than chance gives.",
    }
    assert rig.counted("delivered") == 1


async def test_only_the_tenants_own_webhooks_are_told(rig: Rig) -> None:
    await rig.webhooks.put(2, "strangers", "https://elsewhere.example.com/", "eve")
    await rig.announcements.changed(CHANGE)

    await rig.deliverer.turn()

    assert len(rig.receiver.received) == 1


@pytest.mark.parametrize("status", [0, 302, 404, 500])
async def test_what_is_not_taken_is_tried_again_for_a_day_and_given_up(
    rig: Rig, status: int
) -> None:
    rig.receiver.status = status
    await rig.announcements.changed(CHANGE)

    for pause_ms in (*PAUSES_MS, 0):
        await rig.deliverer.turn()
        rig.clock.at_ms += pause_ms - 1
        await rig.deliverer.turn()
        rig.clock.at_ms += 1

    assert len(rig.receiver.received) == len(PAUSES_MS) + 1
    assert len({headers["webhook-id"] for _, headers, _ in rig.receiver.received}) == 1
    assert DAY_MS < sum(PAUSES_MS) < 2 * DAY_MS < KEPT_MS
    assert (rig.counted("failed"), rig.counted("given_up")) == (len(PAUSES_MS), 1)
    assert await rig.store.pending() == 0


async def test_a_url_that_breaks_the_sending_holds_nobody_up(rig: Rig) -> None:
    await rig.webhooks.put(2, "strangers", "https://broken.example.com/", "eve")
    rig.receiver.broken = "broken"
    await rig.webhooks.test(2, "strangers")
    await rig.announcements.changed(CHANGE)

    await rig.deliverer.turn()

    assert (rig.counted("failed"), rig.counted("delivered")) == (1, 1)
    assert await rig.store.due(NOW_MS, 9) == []


async def test_tests_that_nobody_takes_do_not_pile_up(rig: Rig) -> None:
    for _ in range(DELIVERIES_SHOWN):
        await rig.webhooks.test(1, "data-team")
        rig.clock.at_ms += 1

    with pytest.raises(StateConflictError):
        await rig.webhooks.test(1, "data-team")
    await rig.deliverer.turn()

    assert (await rig.webhooks.test(1, "data-team")).is_pending


async def test_a_receiver_that_is_gone_is_told_nothing_more_but_a_test(rig: Rig) -> None:
    rig.receiver.status = 410
    await rig.announcements.changed(CHANGE)
    await rig.deliverer.turn()
    later = replace(CHANGE, at_ms=NOW_MS + 1)
    await rig.announcements.changed(later)
    rig.clock.at_ms += DAY_MS

    await rig.webhooks.test(1, "data-team")
    await rig.deliverer.turn()

    assert [json.loads(body)["type"] for *_, body in rig.receiver.received] == [
        "quality.changed",
        "webhook.test",
    ]
