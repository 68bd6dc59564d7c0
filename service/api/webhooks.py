"""Routes of webhooks: who is told what the service found out, and what became of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Path, Response
from pydantic import ConfigDict, Field, JsonValue

from service.api.dependencies import ActorDep, Services, TenantDep, services_of
from service.api.schemas import Moment, Schema, problems
from service.api.strict_json import StrictRoute
from service.domain.limits import ID_PATTERN
from service.domain.webhook import URL_LENGTH_MAX, WEBHOOKS_MAX, Delivery, Webhook
from service.reporting.formats import rfc3339
from service.webhooks import Webhooks
from service.webhooks.subscriptions import Made

_AT = "2026-11-24T07:00:00.000Z"
_URL = "https://hooks.example.com/promobandit"
_WEBHOOK: dict[str, JsonValue] = {
    "id": "data-team",
    "url": _URL,
    "created_at": _AT,
    "created_by": "ada@example.com",
    "gone_at": None,
}
_DELIVERY: dict[str, JsonValue] = {
    "id": "msg_0f6a1f6f0c1e4b7f9a3d5c7b9e1f2a3b",
    "created_at": _AT,
    "attempts": 1,
    "status": 204,
    "delivered_at": _AT,
    "given_up_at": None,
    "next_at": None,
}
router = APIRouter(tags=["webhooks"], route_class=StrictRoute)


class WebhookBody(Schema):
    """Where to tell."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": _URL}]})

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=URL_LENGTH_MAX,
            description="An https address of the public internet; redirects are not followed.",
            json_schema_extra={"format": "uri"},
        ),
    ]


class WebhookView(Schema):
    """A webhook, without its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [_WEBHOOK]})

    id: str
    url: str
    created_at: Moment
    created_by: str
    gone_at: Annotated[
        Moment | None, Field(description="When its server answered 410: it is told no more.")
    ]

    @classmethod
    def of(cls, webhook: Webhook) -> Self:
        """Return what callers see of a webhook."""
        return cls(
            id=webhook.id,
            url=webhook.url,
            created_at=rfc3339(webhook.created_at_ms),
            created_by=webhook.created_by,
            gone_at=_moment(webhook.gone_at_ms),
        )


class MadeWebhook(WebhookView):
    """A webhook as it is answered to who made or changed it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**_WEBHOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]
        }
    )

    secret: Annotated[
        str | None,
        Field(description="What its messages are signed with; shown when it is made, never again."),
    ]

    @classmethod
    def made(cls, made: Made) -> Self:
        """Return what the maker sees."""
        return cls(**WebhookView.of(made.webhook).model_dump(), secret=made.secret)


class DeliveryView(Schema):
    """A message on its way to a webhook, or at its end."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DELIVERY]})

    id: Annotated[str, Field(description="The `webhook-id` that the receiver sees.")]
    created_at: Moment
    attempts: int
    status: Annotated[
        int | None, Field(description="Of the last answer; null when there was none.")
    ]
    delivered_at: Moment | None
    given_up_at: Moment | None
    next_at: Annotated[Moment | None, Field(description="When it is tried next.")]

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Return what callers see of a delivery."""
        return cls(
            id=delivery.id,
            created_at=rfc3339(delivery.created_at_ms),
            attempts=delivery.attempts,
            status=delivery.status,
            delivered_at=_moment(delivery.delivered_at_ms),
            given_up_at=_moment(delivery.given_up_at_ms),
            next_at=rfc3339(delivery.next_at_ms) if delivery.is_pending else None,
        )


class WebhookDetail(WebhookView):
    """A webhook and what it was told last."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_WEBHOOK, "deliveries": [_DELIVERY]}]}
    )

    deliveries: Annotated[list[DeliveryView], Field(description="Newest first.")]


class WebhookList(Schema):
    """All webhooks of the tenant."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"webhooks": [_WEBHOOK]}]})

    webhooks: list[WebhookView]


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)


def _webhooks_of(services: Annotated[Services, Depends(services_of)]) -> Webhooks:
    return services.webhooks


WebhooksDep = Annotated[Webhooks, Depends(_webhooks_of)]
WebhookId = Annotated[
    str, Path(pattern=ID_PATTERN, description="The webhook's id.", examples=["data-team"])
]


@router.get("/webhooks", summary="List the webhooks", responses=problems(405, 422, 500, 503))
async def list_webhooks(tenant: TenantDep, webhooks: WebhooksDep) -> WebhookList:
    """Return who is told, without secrets."""
    found = await webhooks.of_tenant(tenant)
    return WebhookList(webhooks=[WebhookView.of(webhook) for webhook in found])


@router.put(
    "/webhooks/{webhook_id}",
    summary="Make a webhook, or give it another url",
    description=(
        "Each change of a data quality check's state is posted to the url, signed as of Standard "
        "Webhooks 1.0.0, and tried again for a day. The secret is in the answer that makes the "
        f"webhook, and nowhere else. There may be {WEBHOOKS_MAX}."
    ),
    responses=problems(405, 409, 413, 415, 422, 500, 503),
)
async def put_webhook(
    webhook_id: WebhookId,
    body: WebhookBody,
    tenant: TenantDep,
    actor: ActorDep,
    webhooks: WebhooksDep,
) -> MadeWebhook:
    """Make a webhook, or move it; a moved one keeps its secret."""
    return MadeWebhook.made(await webhooks.put(tenant, webhook_id, body.url, actor))


@router.get(
    "/webhooks/{webhook_id}",
    summary="Show a webhook and what it was told last",
    responses=problems(404, 405, 422, 500, 503),
)
async def get_webhook(
    webhook_id: WebhookId, tenant: TenantDep, webhooks: WebhooksDep
) -> WebhookDetail:
    """Return a webhook and its last deliveries."""
    webhook, deliveries = await webhooks.show(tenant, webhook_id)
    views = [DeliveryView.of(delivery) for delivery in deliveries]
    return WebhookDetail(**WebhookView.of(webhook).model_dump(), deliveries=views)


@router.delete(
    "/webhooks/{webhook_id}",
    summary="Remove a webhook",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    responses=problems(404, 405, 422, 500, 503),
)
async def remove_webhook(
    webhook_id: WebhookId, tenant: TenantDep, actor: ActorDep, webhooks: WebhooksDep
) -> None:
    """Forget a webhook, its secret and what it was to be told."""
    await webhooks.remove(tenant, webhook_id, actor)


@router.post(
    "/webhooks/{webhook_id}/test",
    summary="Send a test message",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(404, 405, 409, 422, 500, 503),
)
async def test_webhook(
    webhook_id: WebhookId, tenant: TenantDep, webhooks: WebhooksDep
) -> DeliveryView:
    """Have a webhook told something that says nothing; see its deliveries for the outcome."""
    return DeliveryView.of(await webhooks.test(tenant, webhook_id))
