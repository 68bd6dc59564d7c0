"""The route that says how well the promises are kept."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Response

from service.api.dependencies import ServicesDep
from service.api.schemas import answer, problems
from service.reporting.service_levels import NOTES

_HOUR: dict[str, Any] = {
    "requests": 41_000,
    "bad": 12,
    "good_share": 0.999707,
    "error_budget_left": 0.707317,
    "p50_ms": 0.9,
    "p95_ms": 2.1,
    "p99_ms": 4.4,
    "verdict": "met",
    "broken": [],
}
_MONTH = {**_HOUR, "requests": 29_000_000, "bad": 4_300, "good_share": 0.999852}
_EXAMPLE: dict[str, Any] = {
    "generated_at": "2026-11-24T07:00:00.000Z",
    "covers": "service",
    "verdict": "met",
    "windows": {"1h": "met", "30d": "met"},
    "routes": [
        {
            "route": "POST /choose",
            "objective": 0.999,
            "threshold_ms": 500,
            "p99_objective_ms": 10.0,
            "verdict": "met",
            "windows": {"1h": _HOUR, "30d": {**_MONTH, "error_budget_left": 0.851724}},
        }
    ],
    "notes": list(NOTES),
}
router = APIRouter(tags=["operations"], default_response_class=Response)


@router.get(
    "/sla",
    summary="Show how well the promises are kept",
    responses={**answer("application/json", _EXAMPLE, "ServiceLevels"), **problems(500)},
)
async def get_sla(services: ServicesDep) -> Response:
    """Return objectives, quantiles, error budgets and verdicts of all processes together."""
    levels = await services.service_levels.answer()
    return Response(msgspec.json.encode(levels), media_type="application/json")
