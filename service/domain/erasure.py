"""An erasure: the request to forget a unit, and how far it has been carried out."""

from __future__ import annotations

from msgspec import Struct

from service.domain.clock import MINUTE_MS
from service.domain.decision import Decision

# So far may the clocks of two machines be apart; what is decided later is a new relationship.
CLOCKS_DIFFER_MS = MINUTE_MS


class Erasure(Struct, frozen=True, kw_only=True):
    """A request to wipe what tells a unit; the request forgets the unit itself in the end.

    `segments` are the files of the outbox that may hold records of the unit: they must be gone.
    None means that nothing has been wiped yet. `unit` is empty once only files remain to be
    cleaned; `rows` counts the decisions wiped.
    """

    id: str
    tenant: int
    unit: str
    requested_at_ms: int
    requested_by: str
    segments: tuple[str, ...] | None = None
    done_at_ms: int | None = None
    rows: int = 0

    @property
    def until_ms(self) -> int:
        """Up to when a record is meant."""
        return self.requested_at_ms + CLOCKS_DIFFER_MS

    def concerns(self, tenant: int, unit: str, at_ms: int) -> bool:
        """Whether a decision is to be wiped.

        The first pass takes whatever is there, also what a clock far ahead has written.
        """
        is_meant = self.segments is None or at_ms <= self.until_ms
        return is_meant and tenant == self.tenant and unit == self.unit


def wiped(decision: Decision) -> Decision:
    """Return a decision as it is kept without its unit: its key and its numbers stay."""
    tells = bool(decision.unit) and decision.unit in decision.occasion
    return Decision(
        key=decision.key,
        tenant=decision.tenant,
        experiment=decision.experiment,
        variant=decision.variant,
        propensity=decision.propensity,
        source=decision.source,
        holdout=decision.holdout,
        version=decision.version,
        key_id=decision.key_id,
        decided_at_ms=decision.decided_at_ms,
        unit="",
        occasion="" if tells else decision.occasion,
        context=None,
        eligible=decision.eligible,
    )
