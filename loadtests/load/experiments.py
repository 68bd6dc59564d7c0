"""The experiments of a load test: a campaign for each kind of mail, and what it is worth."""

from __future__ import annotations

from typing import Any

CONVERSION = "conversion"
CLICK = "click"
CAMPAIGNS = ("lifecycle", "trigger", "newsletter", "sender")
VARIANTS = 4
RATE_FIRST = 0.02
RATE_STEP = 0.01  # Each variant converts by so much more than the one before it.


def experiments(tag: str) -> list[str]:
    """Return the ids of a run's experiments, in the order of `CAMPAIGNS`."""
    return [f"{tag}-{campaign}" for campaign in CAMPAIGNS]


def definition() -> dict[str, Any]:
    """Return what each experiment is defined as."""
    return {
        "variants": [
            {"id": f"variant-{i}", "payload": {"subject": f"Subject {i}", "template": f"t-{i}"}}
            for i in range(VARIANTS)
        ],
        "policy": {"name": "thompson"},
        "reward": {"kind": "binary", "events": {CONVERSION: 1.0, CLICK: 0.0}, "window": "P30D"},
        "holdout": {"share": 0.05, "kind": "uniform"},
    }


def conversion_rate(variant: str) -> float:
    """Return how often a variant's mail leads to anything."""
    return RATE_FIRST + RATE_STEP * int(variant.rpartition("-")[2])
