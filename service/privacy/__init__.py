"""Privacy: a unit is erased when somebody asks for it, and everybody's data when it is old."""

from service.privacy.eraser import Eraser
from service.privacy.quarantines import Quarantines
from service.privacy.requests import Erasures
from service.privacy.retention import Retention

__all__ = ["Eraser", "Erasures", "Quarantines", "Retention"]
