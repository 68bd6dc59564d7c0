"""Deliver messages: some at a time, later again when they were not taken, at last given up."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from msgspec.structs import replace

from service.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Clock
from service.domain.webhook import Delivery
from service.logs import logger
from service.metrics import Metrics
from service.store.webhook_ports import DeliveryError, Due, Post, WebhookStore
from service.webhooks.signing import signed_headers

AT_ONCE = 20
# After the first failure, the second, ...: a receiver may be away for a day.
PAUSES_MS = (
    5 * SECOND_MS,
    30 * SECOND_MS,
    2 * MINUTE_MS,
    10 * MINUTE_MS,
    HOUR_MS,
    6 * HOUR_MS,
    18 * HOUR_MS,
)
KEPT_MS = 30 * DAY_MS
FORGET_INTERVAL_MS = HOUR_MS
_HEADERS = {"content-type": "application/json", "user-agent": "promobandit"}

_log = logger(__name__)


class Deliverer:
    """Posts what is due: each message until it is taken or given up, perhaps twice with one id."""

    def __init__(self, store: WebhookStore, post: Post, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._post = post
        self._clock = clock
        self._metrics = metrics
        self._forget_at_ms = 0

    async def turn(self) -> bool:
        """Try what is due, a bounded number at once; return whether there may be more."""
        now_ms = self._clock.now_ms()
        due = await self._store.due(now_ms, AT_ONCE)
        # All are waited for: what still ran beside the next turn would be sent twice.
        ends = await asyncio.gather(*map(self._deliver, due), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end
        self._metrics.webhooks.pending(await self._store.pending())
        if self._clock.monotonic_ms() >= self._forget_at_ms:
            await self._store.forget(now_ms - KEPT_MS)
            self._forget_at_ms = self._clock.monotonic_ms() + FORGET_INTERVAL_MS
        return len(due) == AT_ONCE

    async def _deliver(self, due: Due) -> None:
        delivery, webhook = due
        body = delivery.body.encode()
        at_seconds = self._clock.now_ms() // SECOND_MS
        headers = _HEADERS | signed_headers(delivery.id, webhook.secret, body, at_seconds)
        status, reason = None, ""
        try:
            status = await self._post.post(webhook.url, headers, body)
        except DeliveryError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  It would be due for ever, and fail every turn.
            reason = type(error).__name__
        settled = _settled(delivery, status, self._clock.now_ms())
        gone_url = webhook.url if status == HTTPStatus.GONE else None
        await self._store.settle(settled, gone_url=gone_url)
        self._tell(settled, reason)

    def _tell(self, settled: Delivery, reason: str) -> None:
        outcome = "failed"
        if settled.delivered_at_ms is not None:
            outcome = "delivered"
        elif settled.given_up_at_ms is not None:
            outcome = "given_up"
        self._metrics.webhooks.attempted(outcome)
        if outcome != "delivered":
            _log.warning(
                "webhook_not_delivered",
                tenant=settled.tenant,
                webhook=settled.webhook,
                outcome=outcome,
                attempts=settled.attempts,
                status=settled.status,
                reason=reason,
            )


def _settled(delivery: Delivery, status: int | None, now_ms: int) -> Delivery:
    """Return what an attempt made of a delivery."""
    attempts = delivery.attempts + 1
    tried = replace(delivery, attempts=attempts, status=status)
    if status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return replace(tried, delivered_at_ms=now_ms)
    if attempts > len(PAUSES_MS) or status == HTTPStatus.GONE:
        return replace(tried, given_up_at_ms=now_ms)
    return replace(tried, next_at_ms=now_ms + PAUSES_MS[attempts - 1])
