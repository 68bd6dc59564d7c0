"""What we and Locust's process agree on."""

from __future__ import annotations

KEY_VARIABLE = "LOADTEST_API_KEY"
BEGUN_SUFFIX = ".begun"  # Of the file that says so, beside the one with the findings.
