"""Turn the bodies of the hot routes into what the use cases are asked, and their answers back."""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec

from service.api.hot_http import decoded, refuse_repeated_names
from service.api.hot_schemas import (
    BatchDecision,
    ChooseBatchRequest,
    ChooseRequest,
    ChooseResponse,
    RewardBatchRequest,
    RewardRequest,
    RewardResult,
)
from service.decisions import SOURCE_NAMES, Answer, Wish, check_wish
from service.domain.decision import Decision
from service.domain.limits import CONTEXT_BYTES_MAX
from service.domain.reward import RewardStatus
from service.domain.serving import ServingTable
from service.errors import (
    DecisionNotFoundError,
    InvalidInputError,
    ServiceError,
    UnavailableError,
)
from service.rewards import RewardWish

QUERY_FIELDS = frozenset({"experiment", "unit", "occasion", "format", "key"})

_encode = msgspec.json.Encoder().encode
_choose = msgspec.json.Decoder(ChooseRequest)
_choose_batch = msgspec.json.Decoder(ChooseBatchRequest)
_reward = msgspec.json.Decoder(RewardRequest)
_reward_batch = msgspec.json.Decoder(RewardBatchRequest)


def choice_of(body: bytes) -> tuple[str, Wish]:
    """Return the experiment that a body names, and what is wished of it."""
    request = decoded(_choose, body)
    # Written out: a sum over the fields costs as much as decoding them.
    members = 2 + (request.occasion is not None) + (request.eligible is not None)
    if body.count(b":") > members + (request.force is not None):
        refuse_repeated_names(body)
    return request.experiment, _wish(request)


def choice_of_query(query_string: bytes) -> tuple[str, Wish, bool]:
    """Return the choice that a query string asks for, and whether as text."""
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidInputError("the query is not valid UTF-8 in URL encoding") from None
    fields = dict(pairs)
    if len(fields) < len(pairs) or not fields.keys() <= QUERY_FIELDS:
        raise InvalidInputError("use experiment, unit, occasion, format and key, each at most once")
    fields.pop("key", None)  # The gate has read it.
    answer_format = fields.pop("format", "json")
    if answer_format not in {"json", "text"}:
        raise InvalidInputError("format is json or text")
    request = decoded(_choose, _encode(fields))
    return request.experiment, _wish(request), answer_format == "text"


def reward_of(body: bytes) -> RewardWish:
    """Return what a body reports."""
    request = decoded(_reward, body)
    members = 1 + (request.value is not None) + (request.event_id is not None)
    if body.count(b":") > members + (request.occurred_at is not None):
        refuse_repeated_names(body)
    return _reward_wish(request)


def send_of(body: bytes) -> ChooseBatchRequest:
    """Return the send that a body asks for."""
    request = decoded(_choose_batch, body)
    if body.count(b":") > len(ChooseBatchRequest.__struct_fields__):
        refuse_repeated_names(body)
    check_wish(Wish("".join(request.units), request.occasion))
    return request


def rewards_of(body: bytes) -> list[RewardWish | ServiceError]:
    """Return what each of many reports, or what is wrong with it."""
    items = decoded(_reward_batch, body).rewards
    if body.count(b'"rewards"') > 1:  # Perhaps only in a text, but seldom.
        refuse_repeated_names(body)
    return [_reward_of_item(item) for item in items]


def _reward_of_item(item: msgspec.Raw) -> RewardWish | ServiceError:
    try:
        return reward_of(bytes(item))
    except InvalidInputError as error:
        return error


def choice_answered(answer: Answer) -> ChooseResponse:
    """Return the answer to one choice as it is sent."""
    decision, table = answer.decision, answer.table
    return ChooseResponse(
        answer.decision_id,
        table.allocation.experiment_id,
        table.variant_ids[decision.variant],
        decision.propensity,
        SOURCE_NAMES[decision.source],
        decision.holdout,
        answer.replayed,
        decision.version,
        table.payloads[decision.variant],
    )


def decision_answered(
    decision: Decision, decision_id: str, table: ServingTable, *, replayed: bool
) -> BatchDecision:
    """Return one answer of a send as it is sent."""
    return BatchDecision(
        decision_id,
        table.variant_ids[decision.variant],
        decision.propensity,
        SOURCE_NAMES[decision.source],
        decision.holdout,
        replayed,
        decision.version,
    )


def reward_answered(outcome: RewardStatus | ServiceError) -> RewardResult:
    """Return the outcome of one reward of many as it is sent."""
    if isinstance(outcome, RewardStatus):
        return RewardResult(outcome.name)
    if isinstance(outcome, DecisionNotFoundError):
        return RewardResult("unknown", str(outcome))
    if isinstance(outcome, UnavailableError):
        return RewardResult("unavailable", str(outcome))
    return RewardResult("invalid", str(outcome))


def _wish(request: ChooseRequest) -> Wish:
    wish = Wish(
        request.unit,
        request.occasion,
        request.eligible,
        _context(request.context),
        request.force,
    )
    check_wish(wish)
    return wish


def _context(raw: msgspec.Raw | msgspec.UnsetType) -> bytes | None:
    """Return the context's JSON text; only an object of bounded size will do."""
    if isinstance(raw, msgspec.UnsetType):
        return None
    context = bytes(raw)
    if context == b"null":
        return None
    if not context.startswith(b"{"):
        raise InvalidInputError("context must be an object")
    if len(context) > CONTEXT_BYTES_MAX:
        raise InvalidInputError(f"context may have {CONTEXT_BYTES_MAX} bytes at most")
    return context


def _reward_wish(request: RewardRequest) -> RewardWish:
    occurred = request.occurred_at
    return RewardWish(
        request.decision_id,
        request.event,
        request.value,
        request.event_id or "",
        None if occurred is None else round(occurred.timestamp() * 1_000),
    )
