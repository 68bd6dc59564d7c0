"""The hot routes: decode, ask the use case, encode."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from service.api.admission import Priority
from service.api.hot_http import JSON, TEXT, UNCACHED, Call, Response
from service.api.hot_schemas import (
    BatchDecision,
    RewardBatchResponse,
    RewardResponse,
)
from service.api.hot_wishes import (
    choice_answered,
    choice_of,
    choice_of_query,
    decision_answered,
    reward_answered,
    reward_of,
    rewards_of,
    send_of,
)
from service.bulk import Bulk, Slice
from service.decisions import Decisions
from service.domain.access import Scope
from service.domain.limits import BATCH_BODY_BYTES_MAX, BODY_BYTES_MAX
from service.domain.reward import RewardStatus
from service.rewards import Rewards

Handler = Callable[[Call], Awaitable[Response]]

_encode = msgspec.json.Encoder().encode
_STATUSES = {status: _encode(RewardResponse(status.name)) for status in RewardStatus}


class HotRoute(NamedTuple):
    """What answers a method of a path, who may call it, and how large a body may be."""

    handler: Handler
    scope: Scope
    priority: Priority
    body_bytes_max: int  # 0: there is none.


class HotRoutes:
    """The handlers by path and method."""

    def __init__(self, decisions: Decisions, bulk: Bulk, rewards: Rewards) -> None:
        self._decisions = decisions
        self._bulk = bulk
        self._rewards = rewards
        chooses, rewards_ = (Scope.CHOOSE, Priority.CHOOSE), (Scope.REWARD, Priority.REWARD)
        self.by_path: dict[str, dict[str, HotRoute]] = {
            "/choose": {
                "POST": HotRoute(self.choose, *chooses, BODY_BYTES_MAX),
                "GET": HotRoute(self.choose_by_query, *chooses, 0),
            },
            "/choose/batch": {
                "POST": HotRoute(
                    self.choose_batch, Scope.CHOOSE, Priority.SEND, BATCH_BODY_BYTES_MAX
                )
            },
            "/reward": {"POST": HotRoute(self.reward, *rewards_, BODY_BYTES_MAX)},
            "/reward/batch": {"POST": HotRoute(self.reward_batch, *rewards_, BATCH_BODY_BYTES_MAX)},
        }

    async def choose(self, call: Call) -> Response:
        """POST /choose."""
        experiment, wish = choice_of(call.body)
        answer = await self._decisions.choose(call.tenant, experiment, wish, call.deadline)
        return Response(200, _encode(choice_answered(answer)))

    async def choose_by_query(self, call: Call) -> Response:
        """GET /choose: the same for e-mail templates, as JSON or as the variant's bare id."""
        experiment, wish, is_text = choice_of_query(call.query)
        answer = await self._decisions.choose(call.tenant, experiment, wish, call.deadline)
        if is_text:
            return Response(200, answer.variant_id.encode(), TEXT, UNCACHED)
        return Response(200, _encode(choice_answered(answer)), JSON, UNCACHED)

    async def choose_batch(self, call: Call) -> Response:
        """POST /choose/batch."""
        request = send_of(call.body)
        call.owe(len(request.units) - 1)
        table = await self._bulk.table(call.tenant, request.experiment, call.deadline)
        payloads: dict[str, msgspec.Raw] = {}
        slices = self._bulk.choose(table, request.occasion, request.units, call.deadline)
        # Encoded slice by slice, so that no turn of the loop is long.
        parts = [_encode(self._slice(piece, payloads))[1:-1] async for piece in slices]
        decisions = b",".join(parts)
        return Response(
            200, b'{"decisions":[' + decisions + b'],"payloads":' + _encode(payloads) + b"}"
        )

    def _slice(self, piece: Slice, payloads: dict[str, msgspec.Raw]) -> list[BatchDecision]:
        table, encode_id = piece.table, self._decisions.codec().encode
        for index in {decision.variant for decision in piece.decisions}:
            payloads[table.variant_ids[index]] = table.payloads[index]
        return [
            decision_answered(decision, encode_id(decision), table, replayed=i in piece.replayed)
            for i, decision in enumerate(piece.decisions)
        ]

    async def reward(self, call: Call) -> Response:
        """POST /reward."""
        wish = reward_of(call.body)
        status = await self._rewards.reward(call.tenant, wish, call.deadline)
        return Response(202 if status is RewardStatus.queued else 200, _STATUSES[status])

    async def reward_batch(self, call: Call) -> Response:
        """POST /reward/batch."""
        wishes = rewards_of(call.body)
        call.owe(len(wishes) - 1)
        outcomes = await self._rewards.reward_batch(call.tenant, wishes, call.deadline)
        results = [reward_answered(outcome) for outcome in outcomes]
        return Response(200, _encode(RewardBatchResponse(results)))
