"""Compare what callers were told with what the ledger says, and time with what is promised."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
from pydantic import SecretStr
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from service.bootstrap.worker import audit
from service.errors import ServiceError
from service.settings import Settings
from service.sla import RECOVERY_SECONDS_MAX
from tests.faults.compare import published_otherwise, told_otherwise
from tests.faults.conduct import overlaps
from tests.faults.ledger import allocation, head, is_hidden, rewards
from tests.faults.load import Attempt, Load
from tests.faults.stack import Stack

CHOOSE_MS_MAX = 250.0
RECOVERY_AFTER_FAULT_SECONDS_MAX = 5.0
FAULT_SECONDS_MIN = 2.0  # What comes of a fault of a moment is looked at for so long.
GOOD_SECONDS = 1.0  # Recovered is who answers so long as if nothing had been.
POLL_SECONDS = 0.3
NOT_YET = (httpx.HTTPError, json.JSONDecodeError, RedisError, SQLAlchemyError, ServiceError)


@dataclass(frozen=True, slots=True)
class Service:
    """What callers met while the fault lasted, and how soon all was well after it."""

    choices: int
    availability: float
    within: float
    p99_ms: float
    fallback: float
    recovery_seconds: float | None  # None: not while anybody looked.


@dataclass(frozen=True, slots=True)
class Books:
    """How the ledger, the evidence and Redis compare with what was acknowledged."""

    lost: int
    twice: int
    differences: tuple[str, ...]
    seconds: float = 0.0  # From the end of the load until all agreed.


def served(attempts: Sequence[Attempt], began: float, ended: float) -> Service:
    """Sum up the attempts of which any part was during the fault."""
    until = max(ended, began + FAULT_SECONDS_MIN)
    during = [a for a in attempts if overlaps(a, began, until)]
    choices = [a for a in during if a.kind == "choose"]
    answered = [a for a in choices if a.status == 200]
    count = max(len(choices), 1)
    times = sorted(a.ms for a in choices) or [0.0]
    return Service(
        choices=len(choices),
        availability=len(answered) / count,
        within=sum(a.ms <= CHOOSE_MS_MAX for a in answered) / count,
        p99_ms=times[min(len(times) - 1, int(0.99 * len(times)))],
        fallback=sum(a.source == "fallback" for a in answered) / max(len(answered), 1),
        recovery_seconds=recovery(attempts, ended),
    )


def recovery(attempts: Sequence[Attempt], ended: float) -> float | None:
    """Return the seconds from the fault's end to the first whole second of good answers."""
    after = sorted(
        (a for a in attempts if a.began >= ended and a.kind == "choose"), key=lambda a: a.began
    )
    good_since = ended
    for attempt in after:
        if attempt.began - good_since >= GOOD_SECONDS:
            return good_since - ended
        if attempt.status != 200 or attempt.source == "fallback" or attempt.ms > CHOOSE_MS_MAX:
            good_since = attempt.began
    return None


def settled(stack: Stack, load: Load) -> Books:
    """Wait until everything agrees, as long as is promised, and tell what never did."""
    began = time.perf_counter()
    while True:
        books = _compared(stack, load)
        seconds = time.perf_counter() - began
        if seconds > RECOVERY_SECONDS_MAX or not (books.lost or books.twice or books.differences):
            return replace(books, seconds=seconds)
        time.sleep(POLL_SECONDS)


def _compared(stack: Stack, load: Load) -> Books:
    try:
        rows = exported(stack.url, load.experiment)
        number, _ = head(stack, load.experiment)
        in_sql = rewards(stack, number)
        differences = told_otherwise(load, rows) + _shown(rows, in_sql)
        differences += _differences(stack, load.experiment, rows)
        lost = sum(lost_of(load, rows, in_sql))
        if not (lost or differences):
            differences += _audited(stack)
    except NOT_YET as error:
        return Books(len(load.decided), 0, (f"the books cannot be read: {error!r}",))
    return Books(lost, twice_of(load, rows, in_sql), tuple(differences))


def _audited(stack: Stack) -> list[str]:
    """Do what `promobandit audit` does, if possible without the second that it takes to start."""
    if is_hidden(stack):
        code, said = stack.run("audit")
        return [] if code == 0 else [said.strip().splitlines()[-1]]
    return asyncio.run(audit(Settings(database_url=SecretStr(stack.sql.direct_url))))


def exported(url: str, experiment: str) -> list[dict[str, Any]]:
    """Return every row of the export."""
    answer = httpx.get(f"{url}/experiments/{experiment}/decisions.ndjson", timeout=30)
    answer.raise_for_status()
    return [json.loads(line) for line in answer.text.splitlines()]


def lost_of(
    load: Load, rows: Sequence[dict[str, Any]], in_sql: Sequence[tuple[str, str]]
) -> tuple[int, int]:
    """Count decisions and rewards that were acknowledged and stand nowhere.

    A reward belongs to its decision's key, which is how an id begins: it may have come with
    the id of an answer that is kept beside the first one.
    """
    ids = {row["decision_id"] for row in rows}
    acknowledged = {(key_of(r.decision_id), r.event_id) for r in load.rewarded}
    recorded = {(key_of(key), event_id) for key, event_id in in_sql}
    return len({d.decision_id for d in load.decided} - ids), len(acknowledged - recorded)


def twice_of(load: Load, rows: Sequence[dict[str, Any]], in_sql: Sequence[tuple[str, str]]) -> int:
    """Count sends that are counted more than once, and rewards beyond those that were sent."""
    counted = Counter((row["unit"], row["occasion"]) for row in rows if row["counted"])
    sent = Counter({(key_of(decision_id), event_id) for decision_id, event_id in load.sent})
    beyond = Counter((key_of(key), event_id) for key, event_id in in_sql) - sent
    return sum(n - 1 for n in counted.values()) + sum(beyond.values())


def _shown(rows: Sequence[dict[str, Any]], in_sql: Sequence[tuple[str, str]]) -> list[str]:
    """Tell whether the export has each of SQL's rewards once, with an answer to its send."""
    shown = Counter(key_of(row["decision_id"]) for row in rows for _ in row["rewards"])
    recorded = Counter(key_of(key) for key, _ in in_sql)
    missing, beyond = (recorded - shown).total(), (shown - recorded).total()
    named = {"missing from": missing, "too many in": beyond}
    return [f"{count} rewards {what} the export" for what, count in named.items() if count]


def key_of(decision_id: str) -> str:
    """Return the part of an id that all answers to the same send share: 126 bits of its key."""
    return decision_id[:21]


def _differences(stack: Stack, experiment: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    counted = [row for row in rows if row["counted"]]
    number, newest = head(stack, experiment)
    report = _get(stack, f"/experiments/{experiment}/report")
    totals = report["totals"]
    with stack.redis_client() as client:
        version = client.hget(f"pb:a:{{{number}}}", "version")
    told = _get(stack, f"/experiments/{experiment}/allocation")["version"]
    pairs = {
        "pulls": (totals["pulls"], len(counted)),
        "conversions": (totals["rewards"], len(converted_of(rows))),
        "allocation in Redis": (int(version or 0), newest),
        "allocation told": (told, newest),
    }
    found = [f"{name}: {a} is not {b}" for name, (a, b) in pairs.items() if a != b]
    record = allocation(stack, number, newest)
    return found or published_otherwise(stack, number, record, report)


def converted_of(rows: Sequence[dict[str, Any]]) -> set[str]:
    """Return the keys of the sends that converted: once each, whichever answer was rewarded.

    A mail with an answer that is kept beside the first one was sent, too: its rewards count.
    """
    return {
        key_of(row["decision_id"])
        for row in rows
        if any(reward["status"] == "accepted" for reward in row["rewards"])
    }


def _get(stack: Stack, path: str) -> dict[str, Any]:
    answer = httpx.get(f"{stack.url}{path}", timeout=10)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
