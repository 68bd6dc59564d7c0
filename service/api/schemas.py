"""What all schemas share: strictness, the spelling of ids, and how problems are documented."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.api.durations import DURATION_PATTERN, seconds_of
from service.api.errors import PROBLEM_MEDIA_TYPE, Problem
from service.domain.limits import EVENT_PATTERN, ID_PATTERN
from service.reporting.exports import ExportedDecision
from service.reporting.report import Report
from service.reporting.service_levels import ServiceLevels

REF_TEMPLATE = "#/components/schemas/{name}"
# Encoded by msgspec, not by pydantic; their schemas come from the very structs.
_STRUCTS = (Problem, Report, ExportedDecision, ServiceLevels)
PROBLEM_EXAMPLE = {
    "type": "/problems/experiment-not-found",
    "title": "Experiment not found",
    "status": 404,
    "detail": "no experiment has this id",
}
_DESCRIPTIONS = {
    404: "No such experiment or variant.",
    405: "Another method is served here.",
    409: "It does not fit the state of the experiment or variant.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "The input does not fit the schema or the experiment.",
    500: "An unexpected error, which was logged.",
    503: "A part that is needed cannot be reached now; try again.",
}
READ_STATUSES = (404, 405, 422, 500, 503)
WRITE_STATUSES = (404, 405, 409, 413, 415, 422, 500, 503)


class Schema(BaseModel):
    """A body whose types are taken literally and whose unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def field_names(of: type[BaseModel] = Schema) -> set[str]:
    """Return how all fields of our schemas are called."""
    names = {field.alias or name for name, field in of.model_fields.items()}
    return names.union(*(field_names(each) for each in of.__subclasses__()))


def _spelt_right(duration: str) -> str:
    seconds_of(duration)
    return duration


Id = Annotated[str, Field(pattern=ID_PATTERN)]
EventName = Annotated[str, Field(pattern=EVENT_PATTERN)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Duration = Annotated[
    str,
    AfterValidator(_spelt_right),
    Field(
        max_length=40,
        description="ISO 8601, of fixed length: weeks, or days, hours, minutes and seconds.",
        json_schema_extra={"pattern": DURATION_PATTERN},
    ),
]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error answers, for a route's `responses`."""
    content = {
        PROBLEM_MEDIA_TYPE: {
            "schema": {"$ref": REF_TEMPLATE.format(name="Problem")},
            "example": PROBLEM_EXAMPLE,
        }
    }
    return {
        status: {"description": _DESCRIPTIONS[status], "content": content} for status in statuses
    }


def answer(media_type: str, example: Any, name: str | None = None) -> dict[int | str, Any]:  # noqa: ANN401
    """Return the documentation of a 200 answer that no pydantic model makes."""
    content: dict[str, Any] = {"example": example}
    if name is not None:
        content["schema"] = {"$ref": REF_TEMPLATE.format(name=name)}
    elif not isinstance(example, dict):  # The schema of an object is FastAPI's to make.
        content["schema"] = {"type": "string"}
    return {200: {"description": "Done.", "content": {media_type: content}}}


def attachment(name: str) -> dict[str, str]:
    """Return the header that makes a browser save an answer under a name; ids need no quoting."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def struct_components() -> dict[str, Any]:
    """Return the schemas of the answers that msgspec encodes."""
    _, components = msgspec.json.schema_components(_STRUCTS, ref_template=REF_TEMPLATE)
    found: dict[str, Any] = dict(components)
    found["Problem"]["examples"] = [PROBLEM_EXAMPLE]
    return found
