"""Data quality: what an experiment's data must look like, watched while they come in."""

from service.quality.verdicts import Changed, Check, CheckState, QualityChange, Verdict

__all__ = ["Changed", "Check", "CheckState", "QualityChange", "Verdict"]
