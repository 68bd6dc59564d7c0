"""The commands `promobandit keys`: make, list and revoke API keys."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from service.api.durations import seconds_of
from service.cli.words import actor, shown_time
from service.domain.access import DEFAULT_TENANT_NAME, ApiKey, Scope
from service.domain.clock import SECOND_MS
from service.settings import Settings

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

COLUMNS = ("id", "tenant", "name", "scopes", "created", "expires", "last used", "state")


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add `keys create`, `keys list` and `keys revoke`."""
    text = "make, list and revoke API keys"
    actions = commands.add_parser("keys", help=text, description=text).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    text = "make a key and show it, this once"
    create = actions.add_parser("create", help=text, description=text, parents=[common])
    create.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=[scope.value for scope in Scope],
        help="what it may be used for; repeat it for several",
    )
    create.add_argument("--tenant", default=DEFAULT_TENANT_NAME, help="made if there is none")
    create.add_argument("--name", default="", help="who holds it, for the list of keys")
    create.add_argument(
        "--expires", type=_expiry, help="when it ends: P90D from now, or 2030-01-31T00:00:00Z"
    )
    create.add_argument("--rate", type=int, help="most decisions and rewards a second")
    create.set_defaults(run=_create)
    text = "list all keys ever made, without their secrets"
    listing = actions.add_parser("list", help=text, description=text, parents=[common])
    listing.add_argument("--tenant", help="only this tenant's")
    listing.set_defaults(run=_list)
    text = "revoke a key, for good, within seconds"
    revoke = actions.add_parser("revoke", help=text, description=text, parents=[common])
    revoke.add_argument("id", help="as `promobandit keys list` shows it")
    revoke.set_defaults(run=_revoke)


def _create(options: argparse.Namespace, settings: Settings) -> int:
    from service.access import KeyWish  # noqa: PLC0415  Not on the way of other commands.
    from service.bootstrap import access  # noqa: PLC0415

    wish = KeyWish(
        scopes=frozenset(map(Scope, options.scope)),
        tenant=options.tenant,
        name=options.name,
        expires_at_ms=_expires_at_ms(options.expires, access.now_ms()),
        rate_max=options.rate,
    )
    key, text = asyncio.run(access.create_key(settings, wish, actor()))
    rate = "" if key.rate_max is None else f", at most {key.rate_max} a second"
    ends = (
        "never expires" if key.expires_at_ms is None else f"until {shown_time(key.expires_at_ms)}"
    )
    print(text)
    print(f"for {', '.join(sorted(key.scopes))} as tenant {wish.tenant}{rate}, {ends}")
    print("it is shown only this once; keep it as you would a password", flush=True)
    return 0


def _list(options: argparse.Namespace, settings: Settings) -> int:
    from service.bootstrap import access  # noqa: PLC0415

    found = asyncio.run(access.list_keys(settings, options.tenant))
    rows = [_row(key, tenant, access.now_ms()) for key, tenant in found]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in (COLUMNS, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return 0


def _revoke(options: argparse.Namespace, settings: Settings) -> int:
    from service.bootstrap import access  # noqa: PLC0415

    if not asyncio.run(access.revoke_key(settings, options.id, actor())):
        print("promobandit keys: there is no key of this id to revoke", file=sys.stderr)
        return 1
    print(f"key {options.id} is revoked; running processes refuse it within seconds")
    return 0


def _row(key: ApiKey, tenant: str, now_ms: int) -> Sequence[str]:
    state = "valid" if key.is_valid(now_ms) else "expired"
    return (
        key.id,
        tenant,
        key.name or "-",
        ",".join(sorted(key.scopes)),
        shown_time(key.created_at_ms),
        "never" if key.expires_at_ms is None else shown_time(key.expires_at_ms),
        "never" if key.last_used_at_ms is None else shown_time(key.last_used_at_ms),
        state if key.revoked_at_ms is None else "revoked",
    )


def _expiry(text: str) -> int | datetime:
    """Return seconds from now, or a time."""
    try:
        expires = seconds_of(text) if text.startswith("P") else datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if isinstance(expires, datetime) and expires.tzinfo is None:
        raise argparse.ArgumentTypeError("a time needs its offset, as in 2030-01-31T00:00:00Z")
    return expires


def _expires_at_ms(expires: int | datetime | None, now_ms: int) -> int | None:
    if expires is None:
        return None
    if isinstance(expires, int):
        return now_ms + expires * SECOND_MS
    return round(expires.timestamp() * SECOND_MS)
