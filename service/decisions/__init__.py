"""Decisions: from a wish to a recorded answer."""

from service.decisions.batches import BATCH_MAX, Asking
from service.decisions.decide import SOURCE_NAMES, Answer, Decisions, Settled
from service.decisions.wish import Wish, check_wish

__all__ = [
    "BATCH_MAX",
    "SOURCE_NAMES",
    "Answer",
    "Asking",
    "Decisions",
    "Settled",
    "Wish",
    "check_wish",
]
