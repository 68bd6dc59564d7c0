"""The hot routes: thin ASGI endpoints dispatched ahead of FastAPI's middleware stack."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from urllib.parse import parse_qsl

import msgspec
import structlog

from service.api.errors import FAILED, problem_of, problem_of_status
from service.api.hot_http import (
    JSON,
    PROBLEM,
    TEXT,
    UNCACHED,
    ClientGoneError,
    HttpError,
    Receive,
    Response,
    Scope,
    Send,
    decoded,
    problem_response,
    read_json,
    respond,
)
from service.api.hot_schemas import (
    BatchDecision,
    ChooseBatchRequest,
    ChooseRequest,
    ChooseResponse,
    RewardBatchRequest,
    RewardBatchResponse,
    RewardRequest,
    RewardResponse,
    RewardResult,
)
from service.bulk import Bulk, Slice
from service.decisions import SOURCE_NAMES, Answer, Decisions, Wish, check_wish
from service.domain.limits import BATCH_BODY_BYTES_MAX, BODY_BYTES_MAX, CONTEXT_BYTES_MAX
from service.domain.reward import RewardStatus
from service.errors import (
    DecisionNotFoundError,
    InvalidInputError,
    ServiceError,
    UnavailableError,
)
from service.metrics import Metrics
from service.rewards import Rewards, RewardWish

Handler = Callable[[Scope, Receive], Awaitable[Response]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode
_choose = msgspec.json.Decoder(ChooseRequest)
_choose_batch = msgspec.json.Decoder(ChooseBatchRequest)
_reward = msgspec.json.Decoder(RewardRequest)
_reward_batch = msgspec.json.Decoder(RewardBatchRequest)
_STATUSES = {status: _encode(RewardResponse(status.name)) for status in RewardStatus}
_QUERY_FIELDS = frozenset({"experiment", "unit", "occasion", "format"})


class HotRoutes:
    """Decode, ask the use case, encode; `tenant` is whose experiments are looked up."""

    def __init__(self, decisions: Decisions, bulk: Bulk, rewards: Rewards, tenant: int) -> None:
        self._decisions = decisions
        self._bulk = bulk
        self._rewards = rewards
        self._tenant = tenant
        self.handlers: dict[str, dict[str, Handler]] = {
            "/choose": {"POST": self.choose, "GET": self.choose_by_query},
            "/choose/batch": {"POST": self.choose_batch},
            "/reward": {"POST": self.reward},
            "/reward/batch": {"POST": self.reward_batch},
        }

    async def choose(self, scope: Scope, receive: Receive) -> Response:
        """POST /choose."""
        request = decoded(_choose, await read_json(scope, receive, BODY_BYTES_MAX))
        answer = await self._decisions.choose(self._tenant, request.experiment, _wish(request))
        return Response(200, _encode(_answered(answer)))

    async def choose_by_query(self, scope: Scope, _receive: Receive) -> Response:
        """GET /choose: the same for e-mail templates, as JSON or as the variant's bare id."""
        request, is_text = _query(scope["query_string"])
        answer = await self._decisions.choose(self._tenant, request.experiment, _wish(request))
        if is_text:
            return Response(200, answer.variant_id.encode(), TEXT, UNCACHED)
        return Response(200, _encode(_answered(answer)), JSON, UNCACHED)

    async def choose_batch(self, scope: Scope, receive: Receive) -> Response:
        """POST /choose/batch."""
        body = await read_json(scope, receive, BATCH_BODY_BYTES_MAX)
        request = decoded(_choose_batch, body)
        check_wish(Wish("".join(request.units), request.occasion))
        table = await self._bulk.table(self._tenant, request.experiment)
        payloads: dict[str, msgspec.Raw] = {}
        parts = [  # Encoded slice by slice, so that no turn of the loop is long.
            _encode(self._slice(piece, payloads))[1:-1]
            async for piece in self._bulk.choose(table, request.occasion, request.units)
        ]
        decisions = b",".join(parts)
        return Response(
            200, b'{"decisions":[' + decisions + b'],"payloads":' + _encode(payloads) + b"}"
        )

    def _slice(self, piece: Slice, payloads: dict[str, msgspec.Raw]) -> list[BatchDecision]:
        ids, table, encode_id = piece.table.variant_ids, piece.table, self._decisions.codec().encode
        for index in {decision.variant for decision in piece.decisions}:
            payloads[ids[index]] = table.payloads[index]
        return [
            BatchDecision(
                encode_id(decision),
                ids[decision.variant],
                decision.propensity,
                SOURCE_NAMES[decision.source],
                decision.holdout,
                i in piece.replayed,
                decision.version,
            )
            for i, decision in enumerate(piece.decisions)
        ]

    async def reward(self, scope: Scope, receive: Receive) -> Response:
        """POST /reward."""
        request = decoded(_reward, await read_json(scope, receive, BODY_BYTES_MAX))
        status = await self._rewards.reward(self._tenant, _reward_wish(request))
        return Response(202 if status is RewardStatus.queued else 200, _STATUSES[status])

    async def reward_batch(self, scope: Scope, receive: Receive) -> Response:
        """POST /reward/batch."""
        body = await read_json(scope, receive, BATCH_BODY_BYTES_MAX)
        wishes = [_reward_item(item) for item in decoded(_reward_batch, body).rewards]
        outcomes = await self._rewards.reward_batch(self._tenant, wishes)
        results = [_result(outcome) for outcome in outcomes]
        return Response(200, _encode(RewardBatchResponse(results)))


class HotDispatcher:
    """The outermost ASGI callable: hot paths are answered here, all else goes to the inner app."""

    def __init__(self, routes: HotRoutes, inner: AsgiApp, metrics: Metrics) -> None:
        self._handlers = routes.handlers
        self._inner = inner
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hot route, or pass the connection on."""
        by_method = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if by_method is None:
            await self._inner(scope, receive, send)
            return
        started = perf_counter()
        handler = by_method.get(scope["method"])
        try:
            response = await handler(scope, receive) if handler else _wrong_method(by_method)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001  The caller gets a problem, whatever it was.
            response = _failure(error, scope)
        await respond(send, response)
        self._metrics.requested(scope["path"], response.status, perf_counter() - started)


def _wrong_method(by_method: dict[str, Handler]) -> Response:
    allowed = ", ".join(sorted(by_method))
    return problem_response(
        405,
        "method-not-allowed",
        "Method not allowed",
        f"use {allowed}",
        (b"allow", allowed.encode()),
    )


def _failure(error: Exception, scope: Scope) -> Response:
    """Return what the caller is told; only what nobody foresaw is logged."""
    if isinstance(error, HttpError):
        return error.response
    if isinstance(error, ServiceError):
        status, body = problem_of(error)
        retry = ((b"retry-after", b"1"),) if isinstance(error, UnavailableError) else ()
        return Response(status, body, PROBLEM, retry)
    _log.error("hot_route_failed", path=scope["path"], exc_info=error)
    return Response(500, problem_of_status(500, FAILED), PROBLEM)


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


def _answered(answer: Answer) -> ChooseResponse:
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


def _query(query_string: bytes) -> tuple[ChooseRequest, bool]:
    """Return the choice a query string asks for, and whether as text."""
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidInputError("the query is not valid UTF-8 in URL encoding") from None
    fields = dict(pairs)
    if len(fields) < len(pairs) or not fields.keys() <= _QUERY_FIELDS:
        raise InvalidInputError("use experiment, unit, occasion and format, each at most once")
    answer_format = fields.pop("format", "json")
    if answer_format not in {"json", "text"}:
        raise InvalidInputError("format is json or text")
    return decoded(_choose, _encode(fields)), answer_format == "text"


def _reward_wish(request: RewardRequest) -> RewardWish:
    occurred = request.occurred_at
    return RewardWish(
        request.decision_id,
        request.event,
        request.value,
        request.event_id or "",
        None if occurred is None else round(occurred.timestamp() * 1_000),
    )


def _reward_item(item: msgspec.Raw) -> RewardWish | ServiceError:
    try:
        return _reward_wish(decoded(_reward, item))
    except InvalidInputError as error:
        return error


def _result(outcome: RewardStatus | ServiceError) -> RewardResult:
    if isinstance(outcome, RewardStatus):
        return RewardResult(outcome.name)
    if isinstance(outcome, DecisionNotFoundError):
        return RewardResult("unknown", str(outcome))
    if isinstance(outcome, UnavailableError):
        return RewardResult("unavailable", str(outcome))
    return RewardResult("invalid", str(outcome))
