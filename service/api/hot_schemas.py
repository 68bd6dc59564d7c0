"""The bodies of the hot routes: msgspec structs, from which their OpenAPI schemas are made too."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct

from service.domain import limits

Name = Annotated[str, Meta(min_length=1, max_length=limits.ID_LENGTH_MAX)]
Unit = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=limits.UNIT_LENGTH_MAX,
        description="Who is randomised: an opaque recipient id.",
        extra_json_schema={"pattern": limits.TEXT_PATTERN},  # Checked by `check_wish`.
    ),
]
Occasion = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=limits.OCCASION_LENGTH_MAX,
        description="Which send this is: (experiment, unit, occasion) is decided once.",
        extra_json_schema={"pattern": limits.OCCASION_PATTERN},
    ),
]
EventName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        # Python's `$` lets a line end follow; that of JSON Schema does not, and knows no `\Z`.
        pattern=limits.EVENT_PATTERN.removesuffix("$") + r"\Z",
        extra_json_schema={"pattern": limits.EVENT_PATTERN},
    ),
]
EventId = Annotated[
    str,
    Meta(max_length=limits.EVENT_ID_LENGTH_MAX, extra_json_schema={"pattern": limits.TEXT_PATTERN}),
]
Value = Annotated[float, Meta(ge=-limits.VALUE_ABS_MAX, le=limits.VALUE_ABS_MAX)]
Moment = Annotated[datetime, Meta(tz=True)]
# A longer text is no token of ours, but that is for the 404 to say.
DecisionId = Annotated[str, Meta(max_length=200)]


class ChooseRequest(Struct, forbid_unknown_fields=True, gc=False):
    """One choice."""

    experiment: Name
    unit: Unit
    occasion: Occasion | None = None
    eligible: (
        Annotated[tuple[Name, ...], Meta(min_length=1, max_length=limits.VARIANTS_EVER_MAX)] | None
    ) = None
    context: Raw = UNSET  # type: ignore[assignment]  # Kept as the caller's JSON text.
    force: Name | None = None


class ChooseResponse(Struct, gc=False):
    """The answer to one choice."""

    decision_id: str
    experiment: str
    variant: str
    propensity: float
    source: str
    holdout: bool
    replayed: bool
    allocation_version: int
    payload: Raw


class ChooseBatchRequest(Struct, forbid_unknown_fields=True):
    """One send: many units on one occasion."""

    experiment: Name
    occasion: Occasion
    units: Annotated[list[Unit], Meta(min_length=1, max_length=limits.BATCH_MAX)]


class BatchDecision(Struct, gc=False):
    """The answer for one unit of a send."""

    decision_id: str
    variant: str
    propensity: float
    source: str
    holdout: bool
    replayed: bool
    allocation_version: int


class ChooseBatchResponse(Struct):
    """The answers in the units' order, and each variant's payload once."""

    decisions: list[BatchDecision]
    payloads: dict[str, Raw]


class RewardRequest(Struct, forbid_unknown_fields=True, gc=False):
    """One reward."""

    decision_id: DecisionId
    event: EventName = "conversion"
    value: Value | None = None
    event_id: EventId | None = None
    occurred_at: Moment | None = None


class RewardResponse(Struct, gc=False):
    """What became of a reward: accepted, duplicate, ignored or queued."""

    status: str


class RewardBatchRequest(Struct, forbid_unknown_fields=True):
    """Many rewards; each is decoded by itself, so that a bad one spoils no neighbour."""

    rewards: Annotated[list[Raw], Meta(min_length=1, max_length=limits.BATCH_MAX)]


class RewardResult(Struct, omit_defaults=True, gc=False):
    """The outcome of one reward: a status as above, or late, unknown, invalid, unavailable."""

    status: str
    detail: str | None = None


class RewardBatchResponse(Struct):
    """The outcomes in the rewards' order."""

    results: list[RewardResult]
