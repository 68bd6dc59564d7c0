"""The families of the learning page that the allocator's worker fills."""

from __future__ import annotations

from service.metrics.page import Family

_EXPERIMENT = ("experiment",)
_VARIANT = ("experiment", "variant")

PULLS = Family("pulls_total", "Counted decisions in the ledger", "counter", _VARIANT)
REWARDED = Family(
    "rewarded_decisions_total", "Those of them that were rewarded", "counter", _VARIANT
)
EFFECTIVE_PULLS = Family(
    "effective_pulls", "Decisions as the policy counts them, older ones less", "gauge", _VARIANT
)
EFFECTIVE_REWARDS = Family(
    "effective_rewards", "Rewarded decisions as the policy counts them", "gauge", _VARIANT
)
PROPENSITY = Family("allocation_propensity", "Propensity in force", "gauge", _VARIANT)
VERSION = Family("allocation_version", "Version in force", "gauge", _EXPERIMENT)
ALLOCATED = Family(
    "allocation_timestamp_seconds", "When the version in force was made", "gauge", _EXPERIMENT
)
ENTROPY = Family(
    "allocation_entropy_ratio", "How evenly the allocation is spread, 0 to 1", "gauge", _EXPERIMENT
)
PENDING = Family(
    "pending_decisions", "Decisions that may yet be rewarded in time", "gauge", _EXPERIMENT
)
EXPIRED = Family(
    "expired_decisions_ratio",
    "Share never rewarded of the decisions whose window has closed",
    "gauge",
    _EXPERIMENT,
)
DELAY = Family(
    "reward_delay_seconds",
    "Time from a decision to its first conversion",
    "gauge",
    ("experiment", "quantile"),
)
