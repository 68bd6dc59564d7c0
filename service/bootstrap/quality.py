"""Join the watch over data quality: its checks, and whom it tells."""

from __future__ import annotations

from dataclasses import dataclass

from service.bootstrap.stores import SqlStores
from service.domain.clock import Clock
from service.metrics.page import Writer
from service.quality import Check, QualityWatch
from service.quality.bursts import DUPLICATES, ORPHANS, BurstCheck, ValuesCheck
from service.quality.orphans import OrphanHunt
from service.quality.past import PastReader
from service.quality.rates import RewardRateCheck
from service.quality.silences import MissingRewardsCheck
from service.quality.split import SplitCheck
from service.quality.standings import Standings
from service.webhooks.messages import Announcer
from service.worker.announce import QualityAnnouncements


@dataclass(frozen=True, slots=True)
class Quality:
    """The watch, and what it puts onto the learning page."""

    watch: QualityWatch
    writers: tuple[Writer, ...]


def build_quality(sql: SqlStores, clock: Clock) -> Quality:
    """Return the watch; it reads nothing before its first turn."""
    reader = PastReader(sql.quality_evidence, sql.tallies)
    split = SplitCheck(sql.splits, clock)
    checks: tuple[Check, ...] = (
        split,
        RewardRateCheck(reader),
        MissingRewardsCheck(reader),
        BurstCheck(DUPLICATES, reader),
        BurstCheck(ORPHANS, reader),
        ValuesCheck(reader),
    )
    changed = QualityAnnouncements(Announcer(sql.webhooks)).changed
    standings = Standings(sql.quality_states, changed)
    watch = QualityWatch(
        checks=checks,
        experiments=sql.experiments,
        ledger=sql.ledger,
        tallies=sql.tallies,
        orphans=OrphanHunt(sql.quality_evidence, clock),
        standings=standings,
        clock=clock,
    )
    return Quality(watch, (split.write, standings.write_page))
