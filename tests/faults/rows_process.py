"""What can happen to API processes: killed, told to end, replaced one after the other."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tests.faults.ledger import orphans
from tests.faults.load import Plan
from tests.faults.scenario import Fault, Lab, Scenario
from tests.faults.stack import Layout, Stack
from tests.servers import free_port

KILLS = 3
GATHER_SECONDS = 1.0  # So long nobody rewards what the process decides that will be killed.
ROLLED = "restart_finished"
ROLLED_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05


@contextmanager
def killed_alone(lab: Lab) -> Iterator[None]:
    """Kill the only API process: meanwhile nobody answers, and callers send again."""
    lab.stack.apis[0].kill()
    yield
    lab.stack.apis[0].start()
    lab.stack.wait_until_ready()


@contextmanager
def killed_by_turns(lab: Lab) -> Iterator[None]:
    """Kill one of two API processes after the other, each once the other one is back."""
    for turn in range(KILLS):
        victim = turn % len(lab.stack.apis)
        lab.stack.apis[victim].kill()
        lab.stack.apis[victim].start()
        lab.stack.wait_until_ready([victim])
    yield


@contextmanager
def killed_before_its_rewards(lab: Lab) -> Iterator[None]:
    """Kill a process whose decisions nobody has drained, and reward them at the other one."""
    usual, lab.load.plan.rewards_a_second = lab.load.plan.rewards_a_second, 0.0
    lab.stack.workers[0].pause()
    time.sleep(GATHER_SECONDS)
    lab.stack.apis[0].kill()
    lab.load.plan.rewards_a_second = 4 * usual
    yield
    # The worker may have been held in a transaction, with locks; then rewards are queued.
    is_queued = any(rewarded.said == "queued" for rewarded in lab.load.rewarded)
    is_first = orphans(lab.stack, lab.experiment) > 0
    lab.expect(is_first or is_queued, "no reward was faster than its decision")
    lab.stack.workers[0].go_on()
    lab.stack.apis[0].start()
    lab.stack.wait_until_ready([0])
    lab.load.plan.rewards_a_second = usual


def told_to_end(*, victims: int) -> Fault:
    """Return the end in order of so many API processes, one after the other, each started anew."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        for victim in range(victims):
            api = lab.stack.apis[victim]
            api.signal(signal.SIGTERM)
            code = api.wait()  # It ends of the signal once it has answered everybody.
            lab.expect(code in (0, -signal.SIGTERM), f"its end had code {code}")
            api.start()
            lab.stack.wait_until_ready([victim])
        yield

    return fault


def supervised(stack: Stack) -> None:
    """Run the whole service as one command, two API processes on one port."""
    stack.ports.append(free_port())
    arguments = ("serve", "--workers", "2", "--port", str(stack.ports[0]))
    stack.apis.append(stack.use(closing(stack.process("api-1", *arguments))))


@contextmanager
def rolled(lab: Lab) -> Iterator[None]:
    """Let the supervisor replace all its processes, and wait until it says that it has."""
    before = lab.stack.log("api-1").count(ROLLED)
    lab.stack.apis[0].signal(signal.SIGHUP)
    deadline = time.perf_counter() + ROLLED_SECONDS_MAX
    while lab.stack.log("api-1").count(ROLLED) == before:
        assert time.perf_counter() < deadline, "the restart did not end"
        time.sleep(POLL_SECONDS)
    yield


def no_request_failed(lab: Lab) -> None:
    """Check that every attempt was answered as if nothing happened, from the first to the last.

    An attempt is sent once more, elsewhere, where the connection closed before any byte came.
    """
    kinds = Counter((a.kind, a.status) for a in lab.load.attempts if a.status != 200)
    lab.expect(not kinds, f"requests that failed: {dict(kinds)}")


def _row(
    name: str, fault: Fault, layout: Layout, prepare: Callable[[Stack], None] | None = None
) -> Scenario:
    return Scenario(
        name=name,
        fault=fault,
        layout=layout,
        fault_seconds=0.0,
        keeps_choosing=False,
        check=no_request_failed,
        prepare=prepare,
    )


TWO = Layout(apis=2)
# Where nobody answers for seconds, callers without back-off would keep both processors busy.
CALM = Plan(choices_a_second=100.0, impatient_share=0.02)
ROWS = (
    Scenario(
        name="API process killed (kill -9) under load, the only one",
        fault=killed_alone,
        plan=CALM,
        fault_seconds=1.0,
        keeps_choosing=False,
    ),
    Scenario(
        name="API processes killed (kill -9) under load, three times one of two",
        fault=killed_by_turns,
        layout=TWO,
        fault_seconds=0.0,
        keeps_choosing=False,
    ),
    Scenario(
        name="Rewards for decisions of an API process that was just killed",
        fault=killed_before_its_rewards,
        layout=TWO,
        keeps_choosing=False,
    ),
    _row("API process told to end (SIGTERM) under load, one of two", told_to_end(victims=1), TWO),
    _row("Rolling restart of two API processes (SIGTERM)", told_to_end(victims=2), TWO),
    _row(
        "Rolling restart of two API processes (SIGHUP to serve)",
        rolled,
        Layout(apis=0, workers=0, own="serve"),
        supervised,
    ),
)
