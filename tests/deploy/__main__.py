"""`python -m tests.deploy` writes the PrometheusRule anew."""

from __future__ import annotations

from tests.deploy.rule import RESOURCE, text

RESOURCE.write_text(text())
