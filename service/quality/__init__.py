"""Data quality: what an experiment's data must look like, watched while they come in."""

from service.quality.health import Health, Healths
from service.quality.verdicts import Changed, Check, CheckState, QualityChange, Verdict
from service.quality.watch import QualityWatch

__all__ = [
    "Changed",
    "Check",
    "CheckState",
    "Health",
    "Healths",
    "QualityChange",
    "QualityWatch",
    "Verdict",
]
