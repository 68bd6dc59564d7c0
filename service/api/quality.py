"""The route that tells an experiment's health."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from service.api.dependencies import ExperimentId, ServicesDep, TenantDep
from service.api.schemas import READ_STATUSES, Moment, Schema, problems
from service.domain.quality import CheckState, QualityState
from service.quality import Health
from service.reporting.formats import rfc3339

StateOfCheck = Literal["unknown", "ok", "warning", "alarm"]
CheckName = Literal["split", "reward_rate", "missing_rewards", "duplicates", "orphans", "values"]
_EXAMPLE: dict[str, Any] = {
    "experiment": "spring-sale",
    "state": "alarm",
    "sentence": "120 of the 150 rewards of the last two hours had been reported before (80%); "
    "usually it is 2.0%. Each counts once; whoever reports them repeats itself.",
    "checked_at": "2026-11-24T07:00:10.000Z",
    "checks": [
        {
            "check": "duplicates",
            "state": "alarm",
            "sentence": "120 of the 150 rewards of the last two hours had been reported before "
            "(80%); usually it is 2.0%. Each counts once; whoever reports them repeats itself.",
            "since": "2026-11-24T07:00:00.000Z",
            "checked_at": "2026-11-24T07:00:10.000Z",
            "figures": {"bad": 120.0, "total": 150.0, "share": 0.8, "usual_share": 0.02},
        }
    ],
}
_NAMES: dict[CheckState, StateOfCheck] = {
    CheckState.ok: "ok",
    CheckState.warning: "warning",
    CheckState.alarm: "alarm",
}
_NOT_YET = "Nobody has looked yet: a running worker does so within seconds."
router = APIRouter(tags=["reports"])


class CheckView(Schema):
    """What one check last said."""

    check: CheckName
    state: StateOfCheck
    sentence: str
    since: Annotated[Moment | None, Field(description="When it came into this state.")]
    checked_at: Annotated[Moment | None, Field(description="When it was last looked at.")]
    figures: Annotated[dict[str, float], Field(description="What the sentence was made from.")]

    @classmethod
    def of(cls, name: Any, state: QualityState | None) -> Self:  # noqa: ANN401  A literal.
        """Return what callers see of a state."""
        if state is None:
            return cls(
                check=name,
                state="unknown",
                sentence=_NOT_YET,
                since=None,
                checked_at=None,
                figures={},
            )
        return cls(
            check=name,
            state=_NAMES[state.state],
            sentence=state.sentence,
            since=rfc3339(state.since_ms),
            checked_at=rfc3339(state.checked_at_ms),
            figures=state.figures,
        )


class HealthView(Schema):
    """Whether an experiment's data are as they should be."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    experiment: str
    state: Annotated[StateOfCheck, Field(description="That of the worst check.")]
    sentence: Annotated[str, Field(description="What the worst check says, or that all is well.")]
    checked_at: Annotated[Moment | None, Field(description="When it was last looked at.")]
    checks: list[CheckView]

    @classmethod
    def of(cls, health: Health) -> Self:
        """Return what callers see of an experiment's health."""
        worst, newest = health.worst, health.checked_at_ms
        sentence = _NOT_YET
        if worst is not None:
            sentence = worst.sentence if worst.state else "Every check says that all is well."
        return cls(
            experiment=health.experiment,
            state="unknown" if worst is None else _NAMES[worst.state],
            sentence=sentence,
            checked_at=None if newest is None else rfc3339(newest),
            checks=[CheckView.of(name, state) for name, state in health.checks.items()],
        )


@router.get(
    "/experiments/{experiment_id}/health",
    summary="Tell whether an experiment's data are sound",
    responses=problems(*READ_STATUSES),
)
async def get_health(
    experiment_id: ExperimentId, services: ServicesDep, tenant: TenantDep
) -> HealthView:
    """Return what the checks of data quality last said, each in a plain sentence."""
    return HealthView.of(await services.healths.health(tenant, experiment_id))
