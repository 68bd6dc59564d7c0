"""How the traffic of each allocation was split: counted as evidence is, by what it depends on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from service.domain.clock import HOUR_MS
from service.domain.decision import Decision

EVERY_VARIANT = ""
_indices = msgspec.json.Decoder(tuple[int, ...])


class SplitKey(NamedTuple):
    """What pulls are counted by: all that the propensities of a decision depend on, and which.

    `hour` is the decision's, in hours since the Unix epoch; `eligible` the JSON indices that the
    caller allowed, '' for all.
    """

    experiment: int
    hour: int
    version: int
    eligible: str
    variant: int


class SplitChange(Struct, frozen=True):
    """The counts of one experiment that changed above an evidence revision, and the newest one."""

    revision: int
    pulls: dict[SplitKey, int]


def split_pulls(decisions: Iterable[Decision]) -> dict[SplitKey, int]:
    """Return what newly inserted decisions add; the policy had no say in those of the holdout."""
    counts = Counter(
        (d.experiment, d.decided_at_ms // HOUR_MS, d.version, d.eligible, d.variant)
        for d in decisions
        if not d.holdout and d.is_counted
    )
    return {
        SplitKey(experiment, hour, version, eligible_text(eligible), variant): pulls
        for (experiment, hour, version, eligible, variant), pulls in counts.items()
    }


def eligible_text(eligible: tuple[int, ...] | None) -> str:
    """Return indices as a key spells them."""
    return EVERY_VARIANT if eligible is None else msgspec.json.encode(eligible).decode()


def eligible_indices(text: str) -> tuple[int, ...] | None:
    """Return the indices that a key spells, None for all."""
    return None if text == EVERY_VARIANT else _indices.decode(text)
