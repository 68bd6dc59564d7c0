"""Keep everything that a run found as JSON, for whoever wants to see more than the tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from loadtests.load.tables import Told

RESULTS = Path(__file__).parents[2] / "bench-results" / "load.json"


def save(told: Told, path: Path = RESULTS) -> None:
    """Write a run, every sample of the service's processes included."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(told), indent=1) + "\n")
