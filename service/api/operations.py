"""Routes for those who run the service: health, metrics, and where everything is."""

from __future__ import annotations

from fastapi import APIRouter, Response

from service.api import errors
from service.api.dependencies import ServicesDep
from service.api.schemas import answer, problems
from service.metrics.scrapes import CONTENT_TYPE

_LINKS: dict[str, str | dict[str, str]] = {
    "name": "promobandit",
    "links": {
        "openapi": "/openapi.json",
        "experiments": "/experiments",
        "choose": "/choose",
        "reward": "/reward",
        "metrics": "/metrics",
        "sla": "/sla",
        "live": "/livez",
        "ready": "/readyz",
    },
}
_LIVE, _READY = {"status": "live"}, {"status": "ready"}
_JSON = "application/json"
_metrics = answer("text/plain", "promobandit_replays_total 12.0\n")
router = APIRouter(tags=["operations"])


@router.get("/", summary="Say where things are", responses=answer(_JSON, _LINKS))
async def get_links() -> dict[str, str | dict[str, str]]:
    """Return the addresses of the parts."""
    return _LINKS


@router.get("/livez", summary="Tell whether the process lives", responses=answer(_JSON, _LIVE))
async def get_live() -> dict[str, str]:
    """Answer 200 as long as the event loop turns."""
    return _LIVE


@router.get(
    "/readyz",
    summary="Tell whether the process may get traffic",
    responses={**answer(_JSON, _READY), **problems(503)},
    response_model=dict[str, str],
)
async def get_ready(services: ServicesDep) -> dict[str, str] | Response:
    """Answer 503 with the reasons while choices could not be answered or recorded."""
    reasons = services.departure.reasons() + await services.health.reasons()
    return errors.not_ready(reasons) if reasons else _READY


@router.get(
    "/metrics",
    summary="Show the metrics of all processes",
    responses={**_metrics, **problems(500)},
    response_class=Response,
)
async def get_metrics(services: ServicesDep) -> Response:
    """Return the text that Prometheus scrapes."""
    text = await services.scrapes.text()
    return Response(text, headers={"Content-Type": CONTENT_TYPE})
