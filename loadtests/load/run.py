"""One run: prepare, send and use at the same time, settle, and judge."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from loadtests.load.experiments import experiments
from loadtests.load.options import Options
from loadtests.load.readings import Counters, counters, seconds_to_ledger, server_levels
from loadtests.load.sender import Target, decisions_needed, sending
from loadtests.load.swarm import UserFindings, using
from loadtests.load.tables import Told
from loadtests.load.target import Service, leave, prepare, sender_core
from loadtests.load.verdict import Findings, Growth, figures_of, late_p99_ms, reasons
from loadtests.load.watch import Watch, data_growth_of, growth_of, uses_of, watching
from loadtests.open_loop import Answered

RESULT_SECONDS_MAX = 120.0


def run(service: Service, options: Options) -> Told:
    """Load a service as the options say, and tell what came of it."""
    shape, seconds, client = options.shape, options.seconds, service.client
    tag, ids = prepare(service, decisions_needed(shape, seconds))
    before = counters(client)
    _say(f"{shape.name}: {shape.text}; {seconds:g} s against {service.url}")
    target = Target(service.address, experiments(tag)[-1], client.key, ids)
    with _watching(service) as watch:
        answers, users = _loaded(service, options, target, tag)
    client.hang_up()  # It has been idle all the time.
    ledger_seconds = seconds_to_ledger(client)
    after, levels = counters(client), server_levels(client)
    findings = Findings(
        figures_of(answers, seconds),
        is_timed=shape.is_timed,
        sender_late_p99_ms=late_p99_ms(answers),
        decisions=after.since(before, "decisions_total"),
        fallbacks=after.since(before, "fallbacks_total"),
        server_verdicts={route: str(level["verdict"]) for route, level in levels.items()},
        audit_difference=_audit(service, before, after),
        ledger_seconds=ledger_seconds,
        user_failures=users.failures,
        growth=_growth(watch) if shape.is_soak else None,
    )
    if service.pid is None:
        leave(service, tag)
    return Told(
        shape,
        seconds,
        _setup(service, options),
        findings,
        users.rows,
        levels,
        reasons(findings),
        uses_of(watch.samples) if watch is not None else (),
        data_growth_of(watch.samples) if watch is not None and shape.is_soak else None,
        watch.samples if watch is not None else (),
    )


def _loaded(
    service: Service, options: Options, target: Target, tag: str
) -> tuple[Sequence[Answered], UserFindings]:
    shape, seconds, core = options.shape, options.seconds, sender_core()
    with (
        using(service.url, shape, seconds, tag, core) as users,
        sending(shape, seconds, target, core) as sent,
    ):
        answers = sent.result(seconds + RESULT_SECONDS_MAX)
        return answers, users.findings(seconds)


@contextmanager
def _watching(service: Service) -> Iterator[Watch | None]:
    if service.pid is None:
        yield None
        return
    with watching(service.pid) as watch:
        yield watch


def _growth(watch: Watch | None) -> list[Growth]:
    if watch is None:
        raise ValueError("a soak looks at the processes of the service: it needs one of its own")
    return growth_of(watch.samples)


def _audit(service: Service, before: Counters, after: Counters) -> float | None:
    """Recount by hand where that can be done, else believe the worker, if it has recounted."""
    if service.data_dir is not None:
        return service.audit()
    has_run = after.since(before, "audit_runs_total") > 0
    return after["audit_difference"] if has_run or after["audit_difference"] else None


def _setup(service: Service, options: Options) -> str:
    if service.pid is None:
        return service.url
    redis = "a Redis of its own" if not options.stores.redis else "Redis beside it"
    database = options.stores.database.partition(":")[0] or "SQLite"
    return f"{options.workers} API processes, {redis}, {database}"


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
