"""How times and tables are spelt for analysts: RFC 3339 and RFC 4180."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A spreadsheet runs a cell that starts so as a formula.
_FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r", "\n")

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
    """Return a text cell that no spreadsheet takes for a formula.

    Parameters
    ----------
    text
        Any text, such as a recipient id that a caller made up.

    Examples
    --------
    >>> harmless("=1+1"), harmless("ann")
    ("'=1+1", 'ann')
    """
    return "'" + text if text.startswith(_FORMULA_MARKS) else text


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
