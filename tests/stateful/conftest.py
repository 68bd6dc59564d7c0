"""The profile for long runs of the state machines."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "long",
    max_examples=20_000,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
