"""Routes that define, change and show experiments."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from service.api.dependencies import (
    ExperimentId,
    ExperimentsDep,
    ServicesDep,
    TargetDep,
    TenantDep,
    VariantId,
)
from service.api.schemas import READ_STATUSES, WRITE_STATUSES, Id, problems
from service.api.schemas_experiments import ExperimentBody, ExperimentView
from service.api.schemas_views import AllocationView, ExperimentList, Trail
from service.api.strict_json import StrictRoute
from service.experiments import Act, VariantAct

PAGE_SIZE = 100  # Making a page keeps the event loop from choices for some milliseconds.
PAGE_SIZE_MAX = 500
_ONE = "/experiments/{experiment_id}"
_VARIANT = _ONE + "/variants/{variant_id}"
_created: dict[int | str, dict[str, Any]] = {
    HTTPStatus.CREATED.value: {"model": ExperimentView, "description": "Created."}
}
_reads, _writes = problems(*READ_STATUSES), problems(*WRITE_STATUSES)
router = APIRouter(tags=["experiments"], route_class=StrictRoute)


@router.get("/experiments", summary="List experiments", responses=problems(405, 422, 500, 503))
async def list_experiments(
    experiments: ExperimentsDep,
    tenant: TenantDep,
    after: Annotated[Id | None, Query(description="What the page before named as next.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = PAGE_SIZE,
) -> ExperimentList:
    """Return a page of experiments, oldest first."""
    page, following = await experiments.page(tenant, after, limit)
    return ExperimentList.of(page, following)


@router.put(_ONE, summary="Create or update an experiment", responses={**_writes, **_created})
async def put_experiment(
    target: TargetDep, body: ExperimentBody, response: Response, experiments: ExperimentsDep
) -> ExperimentView:
    """Create it, or make the standing one so; a body that changes nothing makes no revision."""
    experiment, is_new = await experiments.put(target, body.definition())
    response.status_code = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    return ExperimentView.of(experiment)


@router.get(_ONE, summary="Show an experiment", responses=_reads)
async def get_experiment(
    experiment_id: ExperimentId, experiments: ExperimentsDep, tenant: TenantDep
) -> ExperimentView:
    """Return its newest revision."""
    return ExperimentView.of(await experiments.get(tenant, experiment_id))


@router.get(f"{_ONE}/allocation", summary="Show the allocation in force", responses=_reads)
async def get_allocation(
    experiment_id: ExperimentId, services: ServicesDep, tenant: TenantDep
) -> AllocationView:
    """Return what this process serves from, with the evidence it was made of."""
    return AllocationView.of(await services.allocations.find(tenant, experiment_id))


@router.get(f"{_ONE}/trail", summary="Show who changed what", responses=_reads)
async def get_trail(
    experiment_id: ExperimentId, experiments: ExperimentsDep, tenant: TenantDep
) -> Trail:
    """Return every administrative act with the experiment before and after it."""
    return Trail.of(experiment_id, await experiments.trail(tenant, experiment_id))


@router.post(f"{_ONE}/pause", summary="Pause an experiment", responses=_writes)
async def pause_experiment(target: TargetDep, experiments: ExperimentsDep) -> ExperimentView:
    """Answer every choice with the control, not counted, until it is resumed."""
    return ExperimentView.of(await experiments.act(target, Act.PAUSE))


@router.post(f"{_ONE}/resume", summary="Start or resume an experiment", responses=_writes)
async def resume_experiment(target: TargetDep, experiments: ExperimentsDep) -> ExperimentView:
    """Let the policy choose: again after a pause, or for the first time after a draft."""
    return ExperimentView.of(await experiments.act(target, Act.RESUME))


@router.post(f"{_ONE}/stop", summary="Stop an experiment for good", responses=_writes)
async def stop_experiment(target: TargetDep, experiments: ExperimentsDep) -> ExperimentView:
    """Answer every choice with the control from now on; rewards of past decisions still count."""
    return ExperimentView.of(await experiments.act(target, Act.STOP))


@router.post(f"{_VARIANT}/pause", summary="Pause a variant", responses=_writes)
async def pause_variant(
    target: TargetDep, variant_id: VariantId, experiments: ExperimentsDep
) -> ExperimentView:
    """Stop sending it until it is resumed; its evidence stays."""
    return ExperimentView.of(await experiments.act_on_variant(target, variant_id, VariantAct.PAUSE))


@router.post(f"{_VARIANT}/resume", summary="Resume a variant", responses=_writes)
async def resume_variant(
    target: TargetDep, variant_id: VariantId, experiments: ExperimentsDep
) -> ExperimentView:
    """Send it again, by the evidence it has."""
    act = VariantAct.RESUME
    return ExperimentView.of(await experiments.act_on_variant(target, variant_id, act))


@router.post(f"{_VARIANT}/retire", summary="Retire a variant for good", responses=_writes)
async def retire_variant(
    target: TargetDep, variant_id: VariantId, experiments: ExperimentsDep
) -> ExperimentView:
    """Never send it again; its id is never reused, its evidence stays."""
    act = VariantAct.RETIRE
    return ExperimentView.of(await experiments.act_on_variant(target, variant_id, act))
