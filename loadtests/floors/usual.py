"""The usual design of such a service: read the counters, draw, write the counters, per request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import numpy as np
from fastapi import FastAPI
from redis.asyncio import Redis

from loadtests.floors.bodies import ChooseRequest, ChooseResponse

VARIANTS = ("variant-000", "variant-001")
DECISION_SECONDS = 7 * 86_400


def usual_app(redis_url: str) -> FastAPI:
    """Return an application that does Thompson sampling on counters in Redis."""
    app = FastAPI()
    redis = Redis.from_url(redis_url, decode_responses=True)
    rng = np.random.default_rng()

    @app.post("/choose")
    async def choose(request: ChooseRequest) -> ChooseResponse:
        key = f"experiment:{request.experiment}"
        counts = await redis.hgetall(key)
        variant = VARIANTS[int(np.argmax(rng.beta(*_posterior(counts))))]
        await redis.hincrby(key, f"{variant}:pulls", 1)
        decision_id = uuid4().hex
        await redis.set(f"decision:{decision_id}", variant, ex=DECISION_SECONDS)
        return ChooseResponse(
            decision_id=decision_id,
            experiment=request.experiment,
            variant=variant,
            propensity=1.0,  # Nobody knows it in this design.
            source="policy",
            holdout=False,
            replayed=False,
            allocation_version=0,
            payload={"subject": "Hello"},
        )

    return app


def _posterior(counts: Mapping[Any, Any]) -> tuple[list[int], list[int]]:
    pulls = [int(counts.get(f"{variant}:pulls", 0)) for variant in VARIANTS]
    wins = [int(counts.get(f"{variant}:wins", 0)) for variant in VARIANTS]
    return [win + 1 for win in wins], [n - win + 1 for n, win in zip(pulls, wins, strict=True)]
