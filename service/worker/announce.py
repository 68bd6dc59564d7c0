"""Tell webhooks when a data quality check's state of an experiment changed."""

from __future__ import annotations

from service.domain.webhook import message_id
from service.quality import QualityChange
from service.webhooks.messages import Announcer, Message

QUALITY_TYPE = "quality.changed"


class QualityAnnouncements:
    """Turns a change into a message; one that is announced again is the same message."""

    def __init__(self, announcer: Announcer) -> None:
        self._announcer = announcer

    async def changed(self, change: QualityChange) -> None:
        """Return once the message is put down."""
        moment = (change.check, int(change.after), change.at_ms)
        message = Message(
            id=message_id(QUALITY_TYPE, change.tenant, change.number, *moment),
            tenant=change.tenant,
            type=QUALITY_TYPE,
            at_ms=change.at_ms,
            data={
                "experiment": change.experiment,
                "check": change.check,
                "before": change.before.name,
                "after": change.after.name,
                "sentence": change.sentence,
            },
        )
        await self._announcer.announce(message)
