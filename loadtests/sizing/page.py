"""The page docs/sizing.md: what was measured, and how to reckon with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.report import facts
from loadtests.sizing.costs import Cost
from loadtests.sizing.site import PARTS
from loadtests.sizing.stores import Growth

PAGE = Path(__file__).parents[2] / "docs" / "sizing.md"
INTRODUCTION = """\
# Sizing

Written by `python -m loadtests.sizing --write-docs`, which measures everything below with the
real service and real servers; the numbers are a machine's, so run it on yours. How the stores are
made to grow is in [growing.md](growing.md), what the service does under a marketing system's load
in [capacity.md](capacity.md), its speed against other designs in [benchmarks.md](benchmarks.md).
"""
COSTS = """\
## Processor

Microseconds of processor time for each, in every part that has a hand in it, on {sql}. An API
process is one event loop and keeps one core busy, so *a second and core* is what one process, one
pod, can do at the very most: plan for half of it. The worker's, Redis' and SQL's time is spent
elsewhere, and later. On a machine where others are at work too (*load before*, at the end), all of
it takes up to a third longer.
"""
RECKONING = """\
**How to reckon.** Sends of {send:,} units an hour before noon, {rewards:,} conversions a day: the
sends take the API {send_seconds:.0f} s and SQL {sql_seconds:.0f} s of a core. What decides how
many API processes there should be is therefore not the send but single choices: templates that
are rendered while a mail is opened. {peak:,} of them a second need {processes} processes at half
load, and two more, so that one may be away during a release and another fail.
"""
BYTES = """\
## Bytes

Megabytes (10^6 bytes) for a million, which are also the bytes of one. Units were 11 bytes long,
the occasion 10, without `context`: add the bytes of yours, for they are stored as they come, and
of a longer unit or occasion. Decisions are kept for ever (`PROMOBANDIT_RETENTION_DAYS` wipes
their unit and context, not the row).
"""
REDIS_AND_OUTBOX = """\
- **Redis** remembers the decisions of 24 to 48 hours: twice the busiest day is what it needs, and
  as much again as headroom for its own growth. Give it `maxmemory` and `maxmemory-policy
  volatile-ttl`: when it is full it forgets the oldest answers, which SQL knows, and never an
  allocation. Rewards take nothing there.
- **The outbox** keeps what was committed for an hour, and what was not for as long as SQL is
  away. At {rate:,} decisions a second an hour is {hour:.1f} GB, so a volume of 10 GiB outlasts
  an outage of SQL of {outage:.1f} hours at that rate. When it is full, the service goes on as
  long as SQL answers.
- **SQL** grows by what the table says and never shrinks. Indexes are about {index_share:.0f} % of
  it. Plan disks for a year, and see [growing.md](growing.md) for hundreds of millions.
"""
MEMORY = """\
## Memory

Resident memory after the loads above, of one process each. An experiment adds some kilobytes to
each API process; a call of 10,000 units some megabytes while it is answered. Limits of twice as
much leave room for both ([deploy/k8s](../deploy/k8s/README.md) sets them).
"""
SEND, REWARDS, PEAK, RATE, VOLUME = 5_000_000, 100_000, 20_000, 1_000, 10 * 2**30


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was measured."""

    costs: Mapping[str, Sequence[Cost]]  # By the SQL server's name.
    growths: Sequence[Growth]
    memory: Mapping[str, float]  # Megabytes by process.
    about: Mapping[str, Mapping[str, str]]


def page(found: Found) -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for sql, costs in found.costs.items():
        parts += [COSTS.format(sql=sql) if len(parts) == 1 else f"On {sql}:", _costs(costs)]
    parts += [_reckoning(found.costs["PostgreSQL"]), BYTES, _growths(found.growths)]
    parts += [_redis_and_outbox(found.growths), MEMORY, _memory(found.memory)]
    parts += [facts(title, pairs) for title, pairs in found.about.items()]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _costs(costs: Sequence[Cost]) -> str:
    parts = [part for part in PARTS if part in costs[0].microseconds]
    rows = [
        [cost.name, f"{cost.per_core:,.0f}", *(f"{cost.microseconds[part]:.1f}" for part in parts)]
        for cost in costs
    ]
    return _table(["", "a second and core", *(f"{part}, us" for part in parts)], rows)


def _reckoning(costs: Sequence[Cost]) -> str:
    single, send = costs[0], costs[1]
    return RECKONING.format(
        send=SEND,
        rewards=REWARDS,
        send_seconds=send.microseconds["API"] * SEND / 1e6,
        sql_seconds=send.microseconds["SQL server"] * SEND / 1e6,
        peak=PEAK,
        processes=-(-PEAK * 2 // int(single.per_core)),
    )


def _growths(growths: Sequence[Growth]) -> str:
    sizes = {(e.store, e.what, e.part): e.megabytes_per_million for e in growths}  # Redis': once.
    for what in ("decisions", "rewards"):
        total = sum(size for key, size in sizes.items() if key[:2] == ("PostgreSQL", what))
        sizes["PostgreSQL", what, "**all of it**"] = total
    rows = [
        [store, what, part, f"{size:,.0f}"]
        for (store, what, part), size in sorted(sizes.items())
        if round(size)
    ]
    return _table(["store", "a million", "part", "MB"], rows)


def _redis_and_outbox(growths: Sequence[Growth]) -> str:
    outbox = next(each for each in growths if each.store == "outbox").megabytes_per_million
    sql = [each for each in growths if each.store == "PostgreSQL" and each.what == "decisions"]
    indexes = sum(each.size for each in sql if each.part != "decisions")
    hour = outbox * RATE * 3_600 / 1e9
    return REDIS_AND_OUTBOX.format(
        rate=RATE,
        hour=hour,
        outage=VOLUME / 1e9 / hour - 1,
        index_share=100 * indexes / sum(each.size for each in sql),
    )


def _memory(memory: Mapping[str, float]) -> str:
    return _table(["process", "MB"], ([name, f"{size:,.0f}"] for name, size in memory.items()))
