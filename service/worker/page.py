"""The learning page's writing: by the worker that holds the lease, and by no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from service.domain.clock import SECOND_MS, Clock
from service.metrics.page import TIMESTAMP, Page, PageFile, Writer


class LearningPage:
    """Asks each writer for its figures, and puts the page where scrapes find it."""

    def __init__(
        self,
        file: PageFile,
        writers: Sequence[Writer],
        is_held: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._file = file
        self._writers = writers
        self._is_held = is_held
        self._clock = clock

    async def turn(self) -> bool:
        """Write the page, or take away the one of before; return whether it was written."""
        is_held = self._is_held()
        # Thousands of figures: beside the event loop, which has rows to commit.
        await asyncio.to_thread(self._write if is_held else self.remove)
        return is_held

    def remove(self) -> None:
        """Take the page away."""
        self._file.remove()

    def _write(self) -> None:
        """Write what there is; a writer that fails keeps nobody else's figures back."""
        page, errors = Page(), []
        page.put(TIMESTAMP, (), self._clock.now_ms() / SECOND_MS)
        for write in self._writers:
            try:
                write(page)
            except Exception as error:  # noqa: BLE001  The loop logs and counts it.
                errors.append(error)
        self._file.write(page.text())
        if errors:
            raise ExceptionGroup("writers of the learning page failed", errors)
