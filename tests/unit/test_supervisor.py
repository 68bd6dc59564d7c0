"""The supervisor keeps its children whatever keeps one of them from starting."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from service.supervisor import Child, Supervisor


async def _never_ready() -> bool:
    return False


@dataclass(slots=True, kw_only=True)
class Crowded(Supervisor):
    """Finds no process left on the machine, a few times."""

    refusals: int = 2
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def _run_once(self, child: Child, end: asyncio.Event) -> int:
        """Refuse, then run the child until the end."""
        del child
        if self.refusals:
            self.refusals -= 1
            raise BlockingIOError("resource temporarily unavailable")
        self.started.set()
        await end.wait()
        return 0


async def test_a_child_that_cannot_be_started_for_a_while_is_started_later() -> None:
    supervisor = Crowded(
        groups=[[Child(name="api-1", arguments=(), stop_seconds=1.0)]],
        environment={},
        server=None,
        is_ready=_never_ready,
        announce=lambda: None,
        on_exit=lambda _: None,
    )
    run = asyncio.create_task(supervisor.run())
    await asyncio.wait_for(supervisor.started.wait(), 5)

    supervisor._stopping.set()
    assert await asyncio.wait_for(run, 5) == 0
