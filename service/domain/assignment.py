"""The pure function from (allocation, unit, occasion) to a variant and its propensity."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import NamedTuple

from service.domain.allocation import Allocation
from service.domain.decision import Source, key_prefix
from service.domain.experiment import ExperimentState, HoldoutKind, VariantState

_POINT_BITS = 64


class Pick(NamedTuple):
    """Which variant, with which probability, and how it came about."""

    variant: int
    propensity: float
    holdout: bool
    source: Source


class _Wheel:
    """Some variants laid side by side on a circle of integer weights."""

    __slots__ = ("edges", "indices", "propensities", "total")

    def __init__(self, indices: Sequence[int], weights: Sequence[int]) -> None:
        self.indices = tuple(indices)
        self.edges = list(accumulate(weights))
        self.total = self.edges[-1]
        self.propensities = tuple(weight / self.total for weight in weights)

    def at(self, point: int) -> int:
        """Return the slot of a 64-bit point: scaled down, it is below the total."""
        return bisect_right(self.edges, (point * self.total) >> _POINT_BITS)


class Assigner:
    """An allocation laid out for deciding; equal inputs give equal picks in every process."""

    __slots__ = (
        "_active",
        "_control",
        "_group_prefix",
        "_holdout_below",
        "_holdout_kind",
        "_index_of",
        "_key_prefix",
        "_policy",
        "_salt",
        "_uniform",
        "_weights",
        "allocation",
        "is_serving",
    )

    def __init__(self, allocation: Allocation) -> None:
        self.allocation = allocation
        self._index_of = {slot.id: i for i, slot in enumerate(allocation.slots)}
        active = [i for i, s in enumerate(allocation.slots) if s.state is VariantState.ACTIVE]
        self._active = frozenset(active)
        self._weights = allocation.weights
        self._control = allocation.control
        self._salt = allocation.salt + b"p"
        self._group_prefix = allocation.salt + b"h"
        self._key_prefix = key_prefix(allocation.tenant, allocation.experiment)
        self._holdout_below = round(allocation.holdout.share * 2**_POINT_BITS)
        self._holdout_kind = allocation.holdout.kind
        self.is_serving = allocation.state is ExperimentState.RUNNING and bool(active)
        if active:
            self._policy = _Wheel(active, [self._weights[i] for i in active])
            self._uniform = _Wheel(active, [1] * len(active))

    def key(self, send: bytes) -> bytes:
        """Return the decision key of a send (see `send_bytes`)."""
        return blake2b(self._key_prefix + send, digest_size=16).digest()

    def pick(self, unit: str, send: bytes) -> Pick:
        """Return the answer for a unit when every active variant is eligible."""
        if not self.is_serving:
            return Pick(self._control, 1.0, False, Source.inactive)
        holdout = self._is_held_out(unit)
        if holdout and self._holdout_kind is HoldoutKind.CONTROL and self._control in self._active:
            return Pick(self._control, 1.0, True, Source.policy)
        wheel = self._uniform if holdout else self._policy
        slot = wheel.at(self._point(send))
        return Pick(wheel.indices[slot], wheel.propensities[slot], holdout, Source.policy)

    def pick_among(self, unit: str, send: bytes, eligible: Collection[int]) -> Pick | None:
        """Return the answer for a unit that may get only some variants, given by index.

        None when none of them is active: to send one that was paused is worse than to send none.
        """
        if not self.is_serving:
            return Pick(self._control, 1.0, False, Source.inactive)
        indices = sorted(self._active.intersection(eligible))
        if not indices:
            return None
        holdout = self._is_held_out(unit)
        if holdout and self._holdout_kind is HoldoutKind.CONTROL and self._control in indices:
            return Pick(self._control, 1.0, True, Source.policy)
        wheel = _Wheel(indices, [1] * len(indices) if holdout else self._weights_of(indices))
        slot = wheel.at(self._point(send))
        return Pick(indices[slot], wheel.propensities[slot], holdout, Source.policy)

    def shares(self, eligible: Collection[int] | None = None) -> tuple[float, ...]:
        """Return the propensity of each variant for units outside the holdout; 0 where inactive."""
        indices = sorted(self._active if eligible is None else self._active.intersection(eligible))
        shares = [0.0] * len(self.allocation.slots)
        if indices:
            wheel = _Wheel(indices, self._weights_of(indices))
            for i, propensity in zip(wheel.indices, wheel.propensities, strict=True):
                shares[i] = propensity
        return tuple(shares)

    def _weights_of(self, indices: Sequence[int]) -> list[int]:
        weights = [self._weights[i] for i in indices]
        # Without a floor a policy may give nothing to any of these: then it has no preference.
        return weights if any(weights) else [1] * len(indices)

    def index_of(self, variant: str) -> int | None:
        """Return a variant's index, or None for an id the experiment does not have."""
        return self._index_of.get(variant)

    def _is_held_out(self, unit: str) -> bool:
        if not self._holdout_below:
            return False
        digest = blake2b(self._group_prefix + unit.encode(), digest_size=8).digest()
        below: bool = int.from_bytes(digest, "big") < self._holdout_below
        return below

    def _point(self, send: bytes) -> int:
        return int.from_bytes(blake2b(self._salt + send, digest_size=8).digest(), "big")
