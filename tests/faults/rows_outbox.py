"""What can happen to the outbox: damaged where its process was killed, on a full disk, useless."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.faults.load import Plan
from tests.faults.proxy import Mode
from tests.faults.scenario import Fault, Lab, Scenario, put
from tests.faults.segments import Frame, frames_in, half_a_frame, key_text, segment_of
from tests.faults.stack import Layout

GATHER_SECONDS = 1.0  # So long the worker is held before the process is killed.
SEEN_SECONDS_MAX = 10.0
POLL_SECONDS = 0.1
FILLER_SIZES, FILLER_CALLS_MAX = (10_000, 100, 1), 800
REST_SECONDS = 0.5
LONG = "x" * 240  # With what tells units apart it is nearly as long as a unit may be.
FAILURES = "promobandit_outbox_failures_total"
FAILED = '"outbox_failed"'


class Damage(NamedTuple):
    """Where it is, and whose record it destroyed, if anybody's."""

    start: int
    destroyed: Frame | None


def damaged(damage: Callable[[Path, list[Frame]], Damage]) -> Fault:
    """Return the fault: a process is killed and its segment damaged before the worker reads it."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        usual, lab.load.plan.rewards_a_second = lab.load.plan.rewards_a_second, 0.0
        lab.stack.more["damaged before"] = _damaged_records(lab)
        lab.stack.workers[0].pause()
        behind = {path.name: len(frames_in(path)) for path in _outbox(lab).glob("*.seg")}
        time.sleep(GATHER_SECONDS)
        pid = lab.stack.apis[0].pid
        lab.stack.apis[0].kill()
        segment = segment_of(_outbox(lab), pid)
        fresh = frames_in(segment)[behind.get(segment.name, 0) :]
        found = lab.stack.more["damage"] = damage(segment, fresh)
        lab.stack.more["segment"] = segment.name
        if found.destroyed is not None:
            _forget(lab, key_text(found.destroyed))
        lab.load.plan.rewards_a_second = usual
        lab.stack.apis[0].start()
        yield
        lab.stack.workers[0].go_on()
        lab.stack.wait_until_ready([0])

    return fault


def torn_behind_the_last(segment: Path, fresh: list[Frame]) -> Damage:
    """Leave half of a record behind the last one, as a kill in the middle of a write does."""
    end = fresh[-1].end
    with segment.open("r+b") as file:
        file.seek(end)
        file.write(half_a_frame(segment, fresh[-1]))
    return Damage(end, None)


def torn_in_the_last(segment: Path, fresh: list[Frame]) -> Damage:
    """Cut the file off in the middle of its last record."""
    last = fresh[-1]
    with segment.open("r+b") as file:
        file.truncate((last.start + last.end) // 2)
    return Damage(last.start, last)


def corrupted_in_the_middle(segment: Path, fresh: list[Frame]) -> Damage:
    """Flip one byte of a record in the midst: of a choice that nobody will repeat."""
    unrepeated = [frame for frame in fresh[:-1] if frame.is_nameless]
    victim = unrepeated[len(unrepeated) // 2]
    with segment.open("r+b") as file:
        file.seek((victim.start + victim.end) // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0xFF]))
    return Damage(victim.start, victim)


def put_aside(lab: Lab) -> None:
    """Check that what was damaged, and nothing else, is in quarantine and counted."""
    damage: Damage = lab.stack.more["damage"]
    segment: str = lab.stack.more["segment"]
    files = [path.name for path in (_outbox(lab) / "quarantine").glob(f"{segment}.*")]
    lab.expect(files == [f"{segment}.{damage.start}.bin"], f"in quarantine are {files}")
    expected = lab.stack.more["damaged before"] + 1
    deadline = time.perf_counter() + SEEN_SECONDS_MAX
    while _damaged_records(lab) < expected and time.perf_counter() < deadline:
        time.sleep(POLL_SECONDS)
    counted = _damaged_records(lab) - expected + 1
    lab.expect(counted == 1, f"{counted:.0f} damaged records are counted")


def exactly_one_is_missing(lab: Lab) -> None:
    """Check that the record which was destroyed is the one that did not arrive."""
    put_aside(lab)
    damage: Damage = lab.stack.more["damage"]
    assert damage.destroyed is not None
    arrived = {row["decision_id"][:21] for row in lab.rows}
    lab.expect(key_text(damage.destroyed) not in arrived, "what was destroyed arrived")


def _forget(lab: Lab, key: str) -> None:
    """Strike a record off the clients' list: its bytes are gone, and nothing can bring it back."""
    for known in (lab.load.decided, lab.load._to_reward):
        for decided in [each for each in known if each.decision_id.startswith(key)]:
            known.remove(decided)


@contextmanager
def disk_full(lab: Lab) -> Iterator[None]:
    """Fill the disk, and the segment that has space preallocated."""
    with _full(lab):
        yield


@contextmanager
def restarted_on_full_disk(lab: Lab) -> Iterator[None]:
    """Kill the process on a full disk: the next one finds no room for its first segment."""
    assert lab.stack.disk is not None
    lab.stack.apis[0].kill()
    with lab.stack.disk.kept_full():
        lab.stack.apis[0].start()
        lab.stack.wait_until_ready()
        yield
        lab.expect(FAILED in lab.log("api-1"), "the outbox found room")


def useless_with_sql(mode: Mode) -> Fault:
    """Return the loss of SQL while the outbox cannot be written."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        assert lab.stack.sql_proxy is not None
        with _full(lab):
            lab.stack.sql_proxy.switch(mode)
            reasons = _not_ready(lab)
            lab.expect("neither the outbox nor the ledger" in reasons, f"not ready: {reasons!r}")
            yield
            lab.stack.sql_proxy.mend()

    return fault


def refused_honestly(lab: Lab) -> None:
    """Check that who could not be answered was told so, and that all filler arrived too."""
    filler_arrived(lab)
    statuses = {a.status for a in lab.load.attempts if a.kind == "choose"}
    lab.expect(503 in statuses, "nobody was refused")
    lab.expect(statuses <= {0, 200, 503}, f"choices were answered {statuses}")


def filler_arrived(lab: Lab) -> None:
    """Check that the choices which used the outbox up are in the ledger as well."""
    url = f"{lab.stack.url}/experiments/{_filler(lab)}/report"
    acknowledged: int = lab.stack.more["filler"]
    deadline = time.perf_counter() + 6 * SEEN_SECONDS_MAX
    pulls = 0
    while pulls != acknowledged and time.perf_counter() < deadline:
        time.sleep(POLL_SECONDS)
        pulls = httpx.get(url, timeout=10).json()["totals"]["pulls"]
    lab.expect(pulls == acknowledged, f"{pulls} of {acknowledged} of the filler arrived")


@contextmanager
def _full(lab: Lab) -> Iterator[None]:
    """Leave no byte free on the disk, nor in the segment that has its space already.

    Nobody else calls meanwhile: such large calls would be in their way.
    """
    assert lab.stack.disk is not None
    put(lab.stack, _filler(lab))
    plan = lab.load.plan
    usual = plan.choices_a_second, plan.batches_a_second
    plan.choices_a_second = plan.batches_a_second = 0.0
    lab.stack.more["filler"] = 0
    with lab.stack.disk.kept_full():  # The worker deletes what it has drained where room is short.
        for size in FILLER_SIZES:
            _fill(lab, size)
        time.sleep(REST_SECONDS)
        plan.choices_a_second, plan.batches_a_second = usual
        yield


def _fill(lab: Lab, size: int) -> None:
    """Choose for so many units at once until that finds no room in the outbox any more."""
    before = _counted(lab, FAILURES)
    for call in range(FILLER_CALLS_MAX):
        units = [f"{size}-{call}-{i}-{LONG}" for i in range(size)]
        body = {"experiment": _filler(lab), "occasion": LONG, "units": units}
        answer = httpx.post(f"{lab.stack.url}/choose/batch", json=body, timeout=30)
        answer.raise_for_status()
        lab.stack.more["filler"] += len(answer.json()["decisions"])
        if _counted(lab, FAILURES) > before:
            return
    lab.expect(holds=False, complaint=f"the outbox has room for {size} on a full disk")


def _filler(lab: Lab) -> str:
    return f"{lab.experiment}-filler"


def _not_ready(lab: Lab) -> str:
    """Wait until the process says that it is not ready; return why."""
    deadline = time.perf_counter() + SEEN_SECONDS_MAX
    while time.perf_counter() < deadline:
        answer = httpx.get(f"{lab.stack.url}/readyz", timeout=10)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return answer.text
        time.sleep(POLL_SECONDS)
    return ""


def _outbox(lab: Lab) -> Path:
    return Path(lab.stack.environment["PROMOBANDIT_OUTBOX_DIR"])


def _damaged_records(lab: Lab) -> float:
    return _counted(lab, "promobandit_damaged_records_total")


def _counted(lab: Lab, name: str) -> float:
    """Return a counter of all processes."""
    url = f"http://127.0.0.1:{lab.stack.ports[-1]}/metrics"  # Not that of the victim.
    lines = httpx.get(url, timeout=10).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def _damage(
    name: str,
    damage: Callable[[Path, list[Frame]], Damage],
    check: Callable[[Lab], None],
    *,
    is_quick: bool = False,
) -> Scenario:
    return Scenario(
        name=name,
        fault=damaged(damage),
        layout=Layout(apis=2),
        plan=Plan(nameless_share=0.2),
        keeps_choosing=False,
        is_quick=is_quick,
        check=check,
    )


SMALL = Layout(on_small_disk="outbox", disk_bytes=112 << 20)  # 16 MB for each process's segment.
ROWS = (
    _damage("Outbox torn behind its last record by a kill", torn_behind_the_last, put_aside),
    _damage("Outbox torn in its last record; all others arrive", torn_in_the_last, put_aside),
    _damage(
        "Outbox record corrupted in the middle; all but that arrive",
        corrupted_in_the_middle,
        exactly_one_is_missing,
        is_quick=True,
    ),
    Scenario(
        name="Outbox on a full disk, with SQL: choices go to the ledger",
        fault=disk_full,
        layout=SMALL,
        fault_seconds=6.0,
        reward_statuses=(200,),
        check=filler_arrived,
    ),
    Scenario(
        name="Outbox on a full disk, the API process restarted there",
        fault=restarted_on_full_disk,
        layout=SMALL,
        keeps_choosing=False,
    ),
    Scenario(
        name="Outbox on a full disk and SQL refuses: 503, not ready",
        fault=useless_with_sql(Mode.REFUSE),
        layout=SMALL,
        fault_seconds=6.0,
        keeps_choosing=False,
        check=refused_honestly,
    ),
    Scenario(
        name="Outbox on a full disk and SQL behind a black hole: 503, not ready",
        fault=useless_with_sql(Mode.BLACK_HOLE),
        layout=SMALL,
        fault_seconds=6.0,
        keeps_choosing=False,
        check=refused_honestly,
    ),
)
