"""What a caller asks for, and the variant it is given."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from service.domain.assignment import Pick
from service.domain.decision import Source
from service.domain.experiment import VariantState
from service.domain.limits import NONCE_MARK
from service.domain.serving import ServingTable
from service.errors import InvalidInputError, NoEligibleVariantError, VariantNotFoundError


class Wish(Struct, frozen=True, gc=False):
    """What a caller asks for; `context` is JSON text."""

    unit: str
    occasion: str | None = None
    eligible: tuple[str, ...] | None = None
    context: bytes | None = None
    force: str | None = None


def check_wish(wish: Wish) -> None:
    """Raise `InvalidInputError` for what no schema says: NULs and the service's own occasions."""
    if "\0" in wish.unit or (wish.occasion and "\0" in wish.occasion):
        raise InvalidInputError("unit and occasion must not contain NUL")
    if wish.occasion and wish.occasion.startswith(NONCE_MARK):
        raise InvalidInputError(f"an occasion must not start with {NONCE_MARK}")


Eligible = tuple[int, ...] | None  # Indices in order; None when every variant was.


def picked(table: ServingTable, wish: Wish, send: bytes) -> tuple[Pick, Eligible]:
    """Return the pick a wish gets and what it was chosen among, or raise why it gets none."""
    if wish.force is not None:
        return _forced(table, wish.force), None
    if wish.eligible is None:
        return table.assigner.pick(wish.unit, send), None
    indices = _indices(table, wish.eligible)
    pick = table.assigner.pick_among(wish.unit, send, indices)
    if pick is None:
        raise NoEligibleVariantError("none of the eligible variants is active")
    return pick, indices


def _indices(table: ServingTable, variants: Collection[str]) -> tuple[int, ...]:
    found = {table.assigner.index_of(variant) for variant in variants}
    indices = tuple(sorted(index for index in found if index is not None))
    if len(indices) < len(found):
        raise VariantNotFoundError("the experiment has no such variant")
    return indices


def _forced(table: ServingTable, variant: str) -> Pick:
    """Return a forced pick, for tests and previews: never counted."""
    (index,) = _indices(table, (variant,))
    if table.allocation.slots[index].state is VariantState.RETIRED:
        raise InvalidInputError("the forced variant is retired")
    return Pick(index, 1.0, holdout=False, source=Source.forced)
