"""Experiments as operators know them: defined, changed, started, paused, stopped, all audited."""

from service.experiments.admin import Experiments, Target
from service.experiments.definition import Definition
from service.experiments.lifecycle import Act, VariantAct

__all__ = ["Act", "Definition", "Experiments", "Target", "VariantAct"]
