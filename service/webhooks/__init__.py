"""Tell other systems what the service found out: signed messages, tried again until taken."""

from service.webhooks.deliverer import Deliverer
from service.webhooks.messages import Announcer
from service.webhooks.subscriptions import Webhooks

__all__ = ["Announcer", "Deliverer", "Webhooks"]
