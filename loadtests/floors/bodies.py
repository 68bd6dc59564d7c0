"""The bodies of the floors that speak FastAPI, and the constants that the others answer."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

# Both are as long as what the service answers to the bench's requests.
CHOOSE_ANSWER = (
    b'{"decision_id":"kQ7yv0o3bG4rJ8m2ZpXc1QAAAAEAAAABAAEBnFmzWgAAAAcBAQBr1m0u5pYw2c8T4n6kQJxE",'
    b'"experiment":"load-0000","variant":"variant-000","propensity":0.5000000001164153,'
    b'"source":"policy","holdout":false,"replayed":false,"allocation_version":7,'
    b'"payload":{"subject":"Hello"}}'
)
REWARD_ANSWER = b'{"status":"accepted"}'


class ChooseRequest(BaseModel):
    """What the bench sends."""

    experiment: str
    unit: str
    occasion: str | None = None


class ChooseResponse(BaseModel):
    """What the service answers."""

    decision_id: str
    experiment: str
    variant: str
    propensity: float
    source: str
    holdout: bool
    replayed: bool
    allocation_version: int
    payload: dict[str, Any]
