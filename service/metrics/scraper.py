"""The process that makes the text of scrapes: `python -m service.metrics.scraper DIRECTORY`.

It says when it is ready, answers each line on its standard input with a length of eight bytes and
so many bytes of text, and ends with its input, which is when the process that asks has ended.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from service.metrics.merging import Merger
from service.metrics.shared import render_shared

READY = b"ready"
LENGTH_BYTES = 8
NICENESS = 10  # A scrape may wait for its turn, a choice should not.


def main() -> None:
    """Answer until nobody asks any more."""
    os.nice(NICENESS)
    gc.freeze()
    directory, merger = Path(sys.argv[1]), Merger()
    asked, told = sys.stdin.buffer, sys.stdout.buffer
    told.write(READY)
    told.flush()
    while asked.readline():
        text = render_shared(directory, merger)
        told.write(len(text).to_bytes(LENGTH_BYTES) + text)
        told.flush()


if __name__ == "__main__":
    main()
