"""How times and tables are spelt for analysts: RFC 3339 and RFC 4180."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A spreadsheet runs a cell that starts so as a formula; the wide ones it makes narrow first.
_MARKS = "[=+\\-@\uff1d\uff0b\uff0d\uff20]"
# A cell also starts after what separates cells in other countries or quotes them.
_STARTS = re.compile(rf"""^(?=\s*{_MARKS}|[\t\r\n])|[;,|\t\r\n"']\s*(?={_MARKS})""")
_STARTS_IN_JSON = re.compile(rf";\s*{_MARKS}")

Cell = str | int | float | bool | None


def rfc3339(at_ms: int) -> str:
    """Return a time in UTC with milliseconds.

    Parameters
    ----------
    at_ms
        Milliseconds since the Unix epoch.

    Examples
    --------
    >>> rfc3339(1_577_836_800_001)
    '2020-01-01T00:00:00.001Z'
    """
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def harmless(text: str) -> str:
    """Return a text cell of which no spreadsheet takes a part for a formula.

    Parameters
    ----------
    text
        Any text, such as a recipient id that a caller made up.

    Examples
    --------
    >>> harmless("=1+1"), harmless("ann")
    ("'=1+1", 'ann')
    """
    return _STARTS.sub(lambda start: start[0] + "'", text)


def harmless_json(text: str) -> str:
    r"""Return the same JSON, spelt so that no spreadsheet takes a part for a formula.

    Parameters
    ----------
    text
        JSON that starts with a bracket. A semicolon in it is always inside a string.

    Examples
    --------
    >>> harmless_json('{"a": ";=1+1"}')
    '{"a": ";\\u003d1+1"}'
    """
    return _STARTS_IN_JSON.sub(lambda start: f"{start[0][:-1]}\\u{ord(start[0][-1]):04x}", text)


def csv_lines(rows: Iterable[Sequence[Cell]]) -> str:
    r"""Return rows as CSV text with CRLF line ends.

    Parameters
    ----------
    rows
        Cells; None becomes an empty cell, booleans `true` and `false`. Text is written as it is:
        what callers made up goes through `harmless` first.

    Examples
    --------
    >>> csv_lines([("a,b", 0.5, True, None)])
    '"a,b",0.5,true,\r\n'
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerows([_spelt(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _spelt(cell: Cell) -> Cell:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell
