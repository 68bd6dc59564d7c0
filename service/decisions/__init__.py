"""Decisions: from a wish to a recorded answer."""

from service.decisions.decide import (
    BATCH_MAX,
    SOURCE_NAMES,
    Answer,
    Decisions,
    Settled,
)
from service.decisions.wish import Wish, check_wish

__all__ = ["BATCH_MAX", "SOURCE_NAMES", "Answer", "Decisions", "Settled", "Wish", "check_wish"]
