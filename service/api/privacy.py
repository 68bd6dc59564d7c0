"""Routes that erase a unit: ask for it, and see how far it is."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Path
from pydantic import AfterValidator, ConfigDict, Field

from service.api.dependencies import ActorDep, Services, TenantDep, services_of
from service.api.schemas import Moment, Schema, problems
from service.api.strict_json import StrictRoute
from service.domain.erasure import Erasure
from service.domain.limits import ID_PATTERN, UNIT_LENGTH_MAX
from service.privacy import Erasures
from service.reporting.formats import rfc3339

_ID = "0f6a1f6f0c1e4b7f9a3d5c7b9e1f2a3b"
_AT = "2026-11-24T07:00:00.000Z"
router = APIRouter(tags=["privacy"], route_class=StrictRoute)


def _storable(unit: str) -> str:
    """Refuse what no unit of a decision can be, as no database takes it."""
    if "\0" in unit:
        raise ValueError("must not hold a NUL character")
    try:
        unit.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return unit


class ErasureBody(Schema):
    """Who is to be forgotten."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"unit": "r-1001"}]})

    unit: Annotated[
        str,
        AfterValidator(_storable),
        Field(
            min_length=1,
            max_length=UNIT_LENGTH_MAX,
            description="The recipient id, as it was sent to /choose.",
            json_schema_extra={"pattern": "^[^\\u0000]*$"},
        ),
    ]


class ErasureView(Schema):
    """A request to erase a unit; it never tells the unit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "status": "pending",
                    "requested_at": _AT,
                    "done_at": None,
                    "rows": 0,
                }
            ]
        }
    )

    id: str
    status: Annotated[
        Literal["pending", "done"],
        Field(description="Done once no file of the service holds the unit any more."),
    ]
    requested_at: Moment
    done_at: Moment | None
    rows: Annotated[int, Field(description="Decisions wiped so far.")]

    @classmethod
    def of(cls, erasure: Erasure) -> Self:
        """Return what callers see of a request."""
        done_at_ms = erasure.done_at_ms
        return cls(
            id=erasure.id,
            status="pending" if done_at_ms is None else "done",
            requested_at=rfc3339(erasure.requested_at_ms),
            done_at=None if done_at_ms is None else rfc3339(done_at_ms),
            rows=erasure.rows,
        )


def _erasures_of(services: Annotated[Services, Depends(services_of)]) -> Erasures:
    return services.erasures


ErasuresDep = Annotated[Erasures, Depends(_erasures_of)]
ErasureId = Annotated[
    str, Path(pattern=ID_PATTERN, description="The request's id.", examples=[_ID])
]


@router.post(
    "/erasures",
    summary="Erase a unit",
    status_code=HTTPStatus.ACCEPTED,
    responses=problems(405, 413, 415, 422, 500, 503),
)
async def request_erasure(
    body: ErasureBody, tenant: TenantDep, actor: ActorDep, erasures: ErasuresDep
) -> ErasureView:
    """Wipe a unit from every decision; numbers stay, and a later choice is recorded again."""
    return ErasureView.of(await erasures.request(tenant, body.unit, actor))


@router.get(
    "/erasures/{erasure_id}",
    summary="Show how far an erasure is",
    responses=problems(404, 405, 422, 500, 503),
)
async def get_erasure(
    erasure_id: ErasureId, tenant: TenantDep, erasures: ErasuresDep
) -> ErasureView:
    """Return the state of a request."""
    return ErasureView.of(await erasures.get(tenant, erasure_id))
