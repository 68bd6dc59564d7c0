"""The commands that work on the ledger's database by hand."""

from __future__ import annotations

import argparse
import asyncio

from service.cli.words import actor, shown_time
from service.settings import Settings


def migrate(_options: argparse.Namespace, settings: Settings) -> int:
    """Bring the schema up to date."""
    from service.bootstrap import worker  # noqa: PLC0415

    asyncio.run(worker.migrate_schema(settings))
    return 0


def audit(_options: argparse.Namespace, settings: Settings) -> int:
    """Recount the evidence and print what differs."""
    from service.bootstrap import worker  # noqa: PLC0415

    found = asyncio.run(worker.audit(settings))
    for line in found:
        print(line)
    print(f"{len(found)} differences between the evidence and a recount of the ledger's rows")
    return 1 if found else 0


def rotate(_options: argparse.Namespace, settings: Settings) -> int:
    """Add a signing key and say when it is in use."""
    from service.bootstrap import worker  # noqa: PLC0415

    key_id, active_from_ms = asyncio.run(worker.rotate_signing_key(settings, actor()))
    print(f"signing key {key_id} is in use from {shown_time(active_from_ms)} on")
    return 0
