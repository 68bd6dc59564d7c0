"""Access: who shows which key, what it opens, and how much of it a second."""

from service.access.issuing import Issuing, KeyWish
from service.access.keyring import Holder, Keyring
from service.access.limits import RateLimit

__all__ = ["Holder", "Issuing", "KeyWish", "Keyring", "RateLimit"]
