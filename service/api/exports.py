"""Routes that stream every decision of an experiment."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from service.api.dependencies import ExperimentId, ServicesDep, TenantDep
from service.api.schemas import READ_STATUSES, answer, attachment, problems
from service.reporting.exports import COLUMNS

NDJSON = "application/x-ndjson"
_ONE = "/experiments/{experiment_id}"
_ROW: dict[str, Any] = {
    "decision_id": "kQ7yv0o3bG4rJ8m2ZpXc1QAAAAEAAAABAAEBnFmzWgAAAAcBAQBr1m0u5pYw2c8T4n6kQJxE",
    "experiment": "spring-sale",
    "variant": "ten-off",
    "unit": "r-1001",
    "occasion": "2026-11-24",
    "propensity": 0.6125,
    "source": "policy",
    "holdout": False,
    "counted": True,
    "allocation_version": 7,
    "decided_at": "2026-11-24T07:00:00.000Z",
    "context": None,
    "rewards": [],
}
_ndjson = answer(NDJSON, msgspec.json.encode(_ROW).decode() + "\n", "ExportedDecision")
_csv = answer("text/csv", ",".join(COLUMNS) + "\r\n")
router = APIRouter(tags=["exports"], default_response_class=Response)


@router.get(
    f"{_ONE}/decisions.ndjson",
    summary="Export every decision as lines of JSON",
    responses={**_ndjson, **problems(*READ_STATUSES)},
)
async def get_decisions_ndjson(
    experiment_id: ExperimentId, services: ServicesDep, tenant: TenantDep
) -> Response:
    """Stream decisions in order of time, the never-rewarded included, each with its rewards."""
    export = await services.exports.open(tenant, experiment_id)
    return StreamingResponse(export.ndjson(), media_type=NDJSON)


@router.get(
    f"{_ONE}/decisions.csv",
    summary="Export every decision as CSV",
    responses={**_csv, **problems(*READ_STATUSES)},
)
async def get_decisions_csv(
    experiment_id: ExperimentId, services: ServicesDep, tenant: TenantDep
) -> Response:
    """Stream the same; rewards are a JSON cell, and text that could be a formula is quoted by '."""
    export = await services.exports.open(tenant, experiment_id)
    headers = attachment(f"{experiment_id}-decisions.csv")
    return StreamingResponse(export.csv(), media_type="text/csv", headers=headers)
