"""The command `promobandit sla check`: ask a running service whether it keeps its promises."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

import msgspec

from service.settings import Settings
from service.sla import WINDOWS

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

MET, BROKEN, UNKNOWN = 0, 1, 2  # The exit codes.
TIMEOUT_SECONDS = 10.0
ANSWER_BYTES_MAX = 1_048_576
COLUMNS = (
    "route", "window", "requests", "good", "promised", "budget left", "p50 ms", "p95 ms", "p99 ms",
    "verdict",
)  # fmt: skip


class Level(msgspec.Struct):
    """What a route came to in a window, as the service answers it."""

    requests: int
    good_share: float | None
    error_budget_left: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    verdict: str
    broken: list[str]


class Route(msgspec.Struct):
    """A route with its levels by window."""

    route: str
    objective: float
    windows: dict[str, Level]


class Answer(msgspec.Struct):
    """What is needed of the answer of `GET /sla`; what else it has is let be."""

    covers: str
    windows: dict[str, str]
    routes: list[Route]


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add `sla check`."""
    text = "look after the promises of a running service"
    actions = commands.add_parser("sla", help=text, description=text).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    text = "exit 0 when its promises are kept, 1 when one is broken, 2 when it cannot be told"
    check = actions.add_parser("check", help=text, description=text, parents=[common])
    check.add_argument("--url", required=True, help="of the service: http://127.0.0.1:8000")
    check.add_argument(
        "--key-file", type=Path, help="file with a key of scope metrics (PROMOBANDIT_API_KEY)"
    )
    check.add_argument(
        "--window", choices=[each.name for each in WINDOWS], help="look at one window, not all"
    )
    check.add_argument(
        "--allow-no-data", action="store_true", help="exit 0 when too little was asked to judge"
    )
    check.set_defaults(run=_check, error_code=UNKNOWN)


def _check(options: argparse.Namespace, settings: Settings) -> int:
    answer = _asked(_sla_url(options.url), _key(options, settings))
    windows = [options.window] if options.window else sorted(answer.windows)
    verdicts = {answer.windows[window] for window in windows if window in answer.windows}
    for line in _table(answer, windows):
        print(line)
    if "broken" in verdicts:
        print("broken")
        return BROKEN
    if answer.covers != "service":
        raise LookupError("the process that answered cannot ask for what the others did")
    if "met" in verdicts or options.allow_no_data:
        print("met" if "met" in verdicts else "no data")
        return MET
    raise LookupError("too few requests to tell")


def _sla_url(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError("--url must be the address of a service, as in http://127.0.0.1:8000")
    return f"{url.rstrip('/')}/sla"


def _key(options: argparse.Namespace, settings: Settings) -> str | None:
    if options.key_file is not None:
        key: str = options.key_file.read_bytes().decode("ascii", "replace").strip()
    elif settings.api_key is not None:
        key = settings.api_key.get_secret_value()
    else:
        return None
    if not key.isascii() or not key.isprintable():  # The library would quote it.
        raise ValueError("the key is none")
    return key


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect, for the key would be sent along."""

    def redirect_request(self, *_args: Any, **_named: Any) -> None:  # noqa: ANN401
        """Have the redirect be an error."""


def _asked(url: str, key: str | None) -> Answer:
    headers = {"Accept": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    opener: OpenerDirector = build_opener(_NoRedirects)
    request = Request(url, headers=headers)  # noqa: S310  Its scheme was looked at.
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            body = response.read(ANSWER_BYTES_MAX)
    except HTTPError as error:
        error.close()
        raise LookupError(f"the service answered {error.code}{_hint(error.code)}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = type(getattr(error, "reason", error)).__name__  # Never its text: it may quote.
        raise LookupError(f"the service cannot be asked ({reason})") from None
    try:
        return msgspec.json.decode(body, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise LookupError("what answered is no service of this kind") from None


def _hint(status: int) -> str:
    hints = {401: ": it wants a key", 403: ": the key lacks the scope metrics"}
    return hints.get(status, "")


def _table(answer: Answer, windows: list[str]) -> Iterator[str]:
    rows = [COLUMNS, *_rows(answer, windows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _rows(answer: Answer, windows: list[str]) -> Iterator[tuple[str, ...]]:
    for route in answer.routes:
        for window in windows:
            level = route.windows.get(window)
            if level is not None:
                yield (route.route, window, *_cells(route, level))


def _cells(route: Route, level: Level) -> tuple[str, ...]:
    quantiles = (level.p50_ms, level.p95_ms, level.p99_ms)
    broken = f" ({', '.join(level.broken)})" if level.broken else ""
    return (
        str(level.requests),
        "-" if level.good_share is None else f"{level.good_share:.4%}",
        f"{route.objective:.1%}",
        f"{level.error_budget_left:.1%}",
        *("-" if ms is None else f"{ms:.1f}" for ms in quantiles),
        f"{level.verdict}{broken}".replace("_", " "),
    )
