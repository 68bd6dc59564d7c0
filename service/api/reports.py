"""Routes that report on an experiment."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Response

from service.api.dependencies import ExperimentId, ServicesDep, TenantDep
from service.api.schemas import READ_STATUSES, answer, attachment, problems
from service.reporting.report import COLUMNS, NOTES

_ONE = "/experiments/{experiment_id}"
_LINE: dict[str, Any] = {
    "variant": "control",
    "state": "active",
    "is_control": True,
    "pulls": 1000,
    "rewards": 31,
    "value": 31.0,
    "rate": 0.031,
    "ci_low": 0.0219,
    "ci_high": 0.0437,
    "p_best": 1.0,
    "expected_loss": 0.0,
    "allocation": 1.0,
    "effective_pulls": 1000.0,
    "effective_rewards": 31.0,
    "events": {"conversion": 31},
}
_EXAMPLE: dict[str, Any] = {
    "experiment": "spring-sale",
    "generated_at": "2026-11-24T07:00:00.000Z",
    "state": "running",
    "policy": {"name": "thompson"},
    "exploration_floor": 0.01,
    "holdout": {"share": 0.0, "kind": "uniform"},
    "allocation_version": 7,
    "evidence_revision": 41,
    "variants": [_LINE],
    "totals": {"pulls": 1000, "rewards": 31, "value": 31.0, "rate": 0.031},
    "notes": list(NOTES),
}
_json = answer("application/json", _EXAMPLE, "Report")
_csv = answer("text/csv", ",".join(COLUMNS) + "\r\n")
router = APIRouter(tags=["reports"], default_response_class=Response)


@router.get(
    f"{_ONE}/report",
    summary="Report on an experiment",
    responses={**_json, **problems(*READ_STATUSES)},
)
async def get_report(
    experiment_id: ExperimentId, services: ServicesDep, tenant: TenantDep
) -> Response:
    """Return totals, intervals, estimates and allocation per variant, with notes."""
    report = await services.reports.report(tenant, experiment_id)
    return Response(msgspec.json.encode(report), media_type="application/json")


@router.get(
    f"{_ONE}/report.csv",
    summary="Report on an experiment as CSV",
    responses={**_csv, **problems(*READ_STATUSES)},
)
async def get_report_csv(
    experiment_id: ExperimentId, services: ServicesDep, tenant: TenantDep
) -> Response:
    """Return one line per variant under a header."""
    report = await services.reports.report(tenant, experiment_id)
    headers = attachment(f"{experiment_id}-report.csv")
    return Response(report.csv(), media_type="text/csv", headers=headers)
