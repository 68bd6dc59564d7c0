"""State machines over whole lives of decisions and rewards, against a model in plain Python.

`python -m pytest tests/stateful --hypothesis-profile=long` plays far more of them, at random.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import cast

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.choosing import Choosing
from tests.stateful.crediting import Crediting
from tests.stateful.machine import Machine
from tests.stateful.operating import Operating

# Together more than 2,000 lives a run, the same ones every time.
LIVES = settings(
    max_examples=700,
    stateful_step_count=20,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


class ChoicesMachine(Choosing):
    """Choices alone, under every fault."""


class RewardsMachine(Choosing, Crediting):
    """Choices and their rewards."""


class LivesMachine(Choosing, Crediting, Operating):
    """Everything at once, while operators act."""


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give all machines one event loop, and with it one pool of threads."""
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.mark.timeout(600)  # A failure is shrunk, which takes many more lives.
@pytest.mark.parametrize("machine", [ChoicesMachine, RewardsMachine, LivesMachine])
def test_no_life_breaks_a_promise(machine: type[Machine], loop: asyncio.AbstractEventLoop) -> None:
    is_long = settings.get_current_profile_name() == "long"
    lives = count()

    def born() -> Machine:
        next(lives)
        return machine(loop)

    with structlog.testing.capture_logs():
        run_state_machine_as_test(
            cast(type[Machine], born),  # It calls it, and asks no more.
            settings=settings.default if is_long else LIVES,
        )

    assert next(lives) >= LIVES.max_examples
