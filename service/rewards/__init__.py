"""Rewards: from what a caller reports to a row of the ledger."""

from service.rewards.recorder import LEDGER_PAUSE_MS
from service.rewards.take import OCCURRED_AHEAD_MS_MAX, Rewards, RewardWish
from service.rewards.tally import Tallies

__all__ = ["LEDGER_PAUSE_MS", "OCCURRED_AHEAD_MS_MAX", "RewardWish", "Rewards", "Tallies"]
