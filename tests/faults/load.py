"""Real HTTP load at a constant rate, and the client's own list of what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.faults.caller import NO_ANSWER, Answer, Caller, UntouchedError

TICK_SECONDS = 0.005
CHOOSE_SECONDS_MAX = 2.0  # What an e-mail template waits.
REWARD_SECONDS_MAX = 5.0
GIVE_UP_SECONDS = 25.0  # After its first attempt a request is not sent again.
BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.1, 1.0
REWARD_AFTER_SECONDS = 0.2
BATCH_UNITS = 20
OCCASION = "o"
_encode = msgspec.json.encode


@dataclass(slots=True)
class Plan:
    """How the callers behave; a scenario may change it while they run."""

    choices_a_second: float = 200.0
    rewards_a_second: float = 50.0
    batches_a_second: float = 1.0
    get_share: float = 0.1
    nameless_share: float = 0.05  # Choices without an occasion.
    again_share: float = 0.05  # Choices that repeat an earlier one.
    impatient_share: float = 0.2  # Callers that send again with no back-off.
    hang_up_share: float = 0.0  # Callers that leave, in the middle or before the answer.
    twin_share: float = 0.0  # Choices sent to every address at the same time.
    twice_share: float = 0.1  # Rewards sent twice at the same time.


@dataclass(frozen=True, slots=True)
class Attempt:
    """One exchange: when it began, how long it took, and the status (0: no answer).

    `source` is a choice's, `policy` where nothing is to be told; of a failure it is the problem.
    """

    kind: str
    began: float
    ms: float
    status: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """A choice that was answered 200."""

    decision_id: str
    unit: str
    variant: str
    propensity: float
    source: str
    version: int
    at: float


@dataclass(frozen=True, slots=True)
class Rewarded:
    """A reward that was answered; the status is the HTTP one."""

    decision_id: str
    event_id: str
    status: int
    said: str
    at: float


@dataclass(slots=True)
class Load:
    """Callers in a thread of their own, from entering the block until `stop`."""

    addresses: list[tuple[str, int]]
    experiment: str
    plan: Plan = field(default_factory=Plan)
    attempts: list[Attempt] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    rewarded: list[Rewarded] = field(default_factory=list)
    sent: set[tuple[str, str]] = field(default_factory=set)  # Rewards: decision and event id.
    given_up: int = 0
    errors: list[str] = field(default_factory=list)
    _serial: itertools.count[int] = field(default_factory=itertools.count)
    _dice: dict[str, float] = field(default_factory=dict)
    _to_reward: list[Decided] = field(default_factory=list)
    _sends: list[dict[str, object]] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _caller: Caller = field(default_factory=Caller)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing new, and wait until what is under way was answered or given up."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    async def _run(self) -> None:
        began = time.perf_counter()
        due = {"choice": 0.0, "reward": 0.0, "batch": 0.0}
        while not self._stopping.is_set():
            elapsed, began = time.perf_counter() - began, time.perf_counter()
            due["choice"] += elapsed * self.plan.choices_a_second
            due["reward"] += elapsed * self.plan.rewards_a_second
            due["batch"] += elapsed * self.plan.batches_a_second
            self._send_due(due)
            await asyncio.sleep(TICK_SECONDS)
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._caller.close()

    def _send_due(self, due: dict[str, float]) -> None:
        while due["choice"] >= 1:
            due["choice"] -= 1
            self._spawn(self._choose())
        while due["reward"] >= 1:
            due["reward"] -= 1
            now = time.perf_counter()
            if self._to_reward and now - self._to_reward[0].at > REWARD_AFTER_SECONDS:
                self._spawn(self._reward(self._to_reward.pop(0)))
        while due["batch"] >= 1:
            due["batch"] -= 1
            self._spawn(self._choose_batch())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if error := task.exception():
            self.errors.append(repr(error))

    def _is(self, name: str) -> bool:
        """Say yes for the plan's share of the askings, evenly spread: no dice to explain."""
        self._dice[name] = self._dice.get(name, 0.0) + float(getattr(self.plan, name))
        if self._dice[name] < 1.0:
            return False
        self._dice[name] -= 1.0
        return True

    async def _choose(self) -> None:
        send = self._send()
        if self._is("get_share") and "occasion" in send:
            query = "&".join(f"{name}={value}" for name, value in send.items())
            request = _request("GET", f"/choose?{query}")
        else:
            request = _request("POST", "/choose", send)
        unit = str(send["unit"])
        if self._is("twin_share"):
            asked = (
                self._until_answered("choose", request, at) for at in range(len(self.addresses))
            )
            answers = await asyncio.gather(*asked)
        else:
            answers = [await self._until_answered("choose", request)]
        for answer in answers:
            if answer.status == 200:
                self._note(msgspec.json.decode(answer.body), unit)

    def _send(self) -> dict[str, object]:
        if self._sends and self._is("again_share"):
            return self._sends[next(self._serial) * 7919 % len(self._sends)]
        send: dict[str, object] = {"experiment": self.experiment, "unit": f"u{next(self._serial)}"}
        if not self._is("nameless_share"):
            send["occasion"] = OCCASION
            self._sends.append(send)
        return send

    async def _choose_batch(self) -> None:
        units = [f"b{next(self._serial)}" for _ in range(BATCH_UNITS)]
        body = {"experiment": self.experiment, "occasion": OCCASION, "units": units}
        request = _request("POST", "/choose/batch", body)
        answer = await self._until_answered("choose", request)
        if answer.status == 200:
            for unit, decision in zip(
                units, msgspec.json.decode(answer.body)["decisions"], strict=True
            ):
                self._note(decision, unit)

    def _note(self, told: dict[str, Any], unit: str) -> None:
        decided = Decided(
            told["decision_id"],
            unit,
            told["variant"],
            told["propensity"],
            told["source"],
            told["allocation_version"],
            time.perf_counter(),
        )
        self.decided.append(decided)
        if not told["replayed"]:
            self._to_reward.append(decided)

    async def _reward(self, decided: Decided) -> None:
        event_id = f"e{next(self._serial)}"
        self.sent.add((decided.decision_id, event_id))
        body = {"decision_id": decided.decision_id, "event_id": event_id}
        request = _request("POST", "/reward", body)
        times = 2 if self._is("twice_share") else 1
        asked = (self._until_answered("reward", request) for _ in range(times))
        for answer in await asyncio.gather(*asked):
            if answer.status in (200, 202, 410):
                said = "" if answer.status == 410 else msgspec.json.decode(answer.body)["status"]
                now = time.perf_counter()
                self.rewarded.append(
                    Rewarded(decided.decision_id, event_id, answer.status, said, now)
                )

    async def _until_answered(self, kind: str, request: bytes, at: int | None = None) -> Answer:
        """Send the same request until it gets an answer that is not a server's failure."""
        began = time.perf_counter()
        is_impatient, backoff = self._is("impatient_share"), BACKOFF_FIRST_SECONDS
        turn = next(self._serial) if at is None else at
        if self._is("hang_up_share"):
            address = self.addresses[turn % len(self.addresses)]
            await self._caller.hang_up(address, request, is_half=turn % 2 == 0)
        while True:
            answer = await self._attempt(kind, request, turn)
            if answer.status and answer.status < 500 and answer.status != 429:
                return answer
            if time.perf_counter() - began > GIVE_UP_SECONDS:
                self.given_up += 1
                return answer
            await asyncio.sleep(TICK_SECONDS if is_impatient else backoff)
            backoff = min(2 * backoff, BACKOFF_MAX_SECONDS)
            turn += at is None

    async def _attempt(self, kind: str, request: bytes, turn: int) -> Answer:
        """Exchange once; where nothing came back at all, once more at once, elsewhere."""
        began = time.perf_counter()
        seconds_max = CHOOSE_SECONDS_MAX if kind == "choose" else REWARD_SECONDS_MAX
        answer = NO_ANSWER
        for again in range(2):
            address = self.addresses[(turn + again) % len(self.addresses)]
            with suppress(UntouchedError):
                answer = await self._caller.ask(address, request, seconds_max)
                break
        ms = (time.perf_counter() - began) * 1_000
        source = ""
        if kind == "choose" and answer.status == 200:
            # A replay tells how it was decided first: that was then.
            is_fallback = b'"source":"fallback"' in answer.body
            is_replayed = b'"replayed":true' in answer.body
            source = "fallback" if is_fallback and not is_replayed else "policy"
        elif answer.status >= 400:
            source = _problem(answer.body)
        self.attempts.append(Attempt(kind, began, ms, answer.status, source))
        return answer


def _request(method: str, path: str, body: object = None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    encoded = _encode(body)
    head += f"Content-Type: application/json\r\nContent-Length: {len(encoded)}\r\n\r\n"
    return head.encode() + encoded


def _problem(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["type"]).rpartition("/")[2]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "not a problem"
