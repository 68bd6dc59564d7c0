"""The route that shows who did what to the whole of a tenant: keys, erasures."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field, JsonValue

from service.api.dependencies import ServicesDep, TenantDep
from service.api.schemas import Moment, Schema, problems
from service.api.strict_json import StrictRoute
from service.domain.access import AdminAct
from service.reporting.formats import rfc3339

PAGE_SIZE = 100
PAGE_SIZE_MAX = 500
AFTER_MAX = 2**53 - 1  # What every JSON reader can hold.
_EXAMPLE: dict[str, Any] = {
    "acts": [
        {
            "id": 12,
            "at": "2026-11-24T07:00:00.000Z",
            "actor": "cli:ada",
            "action": "key-created",
            "subject": "b7k2q5mzn4xa",
            "detail": {"scopes": ["choose"]},
        }
    ],
    "next": None,
}
router = APIRouter(tags=["operations"], route_class=StrictRoute)


class Act(Schema):
    """One administrative act that is not about one experiment."""

    id: int
    at: Moment
    actor: str
    action: str
    subject: str
    detail: dict[str, JsonValue]


class Acts(Schema):
    """A page of acts, oldest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    acts: list[Act]
    next: Annotated[int | None, Field(description="What to give as `after` for the next page.")]

    @classmethod
    def of(cls, found: list[AdminAct], limit: int) -> Self:
        """Return what callers see of at most `limit` acts, of which one more may follow."""
        shown = found[:limit]
        return cls(
            acts=[
                Act(
                    id=act.id,
                    at=rfc3339(act.at_ms),
                    actor=act.actor,
                    action=act.action,
                    subject=act.subject,
                    detail=act.detail,
                )
                for act in shown
            ],
            next=shown[-1].id if len(found) > limit else None,
        )


@router.get(
    "/trail",
    summary="Show who made and revoked keys and erased units",
    responses=problems(405, 422, 500, 503),
)
async def get_acts(
    services: ServicesDep,
    tenant: TenantDep,
    after: Annotated[int, Query(ge=0, le=AFTER_MAX)] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = PAGE_SIZE,
) -> Acts:
    """Return a page of the tenant's acts; those on one experiment stand in its own trail."""
    return Acts.of(await services.acts.of_tenant(tenant, limit + 1, after), limit)
