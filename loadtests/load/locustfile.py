"""What Locust is told of a load test; `python -m loadtests.load` runs this in its own process.

By hand: `locust -f loadtests/load/locustfile.py --host URL --tag NAME`, after the experiments were
made. Nothing else imports this file: Locust patches the standard library of its process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.stats import StatsEntry

from loadtests.load.locust_words import BEGUN_SUFFIX, KEY_VARIABLE
from loadtests.load.readers import AnalystUser, OperatorUser
from loadtests.load.shapes import SHAPES
from loadtests.load.users import BurstUser, SendUser, TemplateUser, WebhookUser, options_of

__all__ = ("AnalystUser", "BurstUser", "OperatorUser", "SendUser", "TemplateUser", "WebhookUser")

SPAWN_PER_SECOND = 20.0


class Profile(LoadTestShape):
    """As many users as the shape says, at each moment."""

    def tick(self) -> tuple[int, float] | None:
        """Return how many users there are to be now; None ends the run."""
        if self.runner is None:
            return None
        options = options_of(self.runner.environment)
        shape = SHAPES[options.shape]
        share = float(self.get_run_time()) / options.seconds  # type: ignore[no-untyped-call]
        if share >= 1.0:
            return None
        return round(sum(shape.users.values()) * shape.factor(share)), SPAWN_PER_SECOND


def _add_options(parser: LocustArgumentParser, **_: object) -> None:
    parser.add_argument("--shape", choices=SHAPES, default="average", help="how much is asked")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long")
    parser.add_argument("--tag", default="", help="that the experiments' ids begin with")
    parser.add_argument("--out", default="", help="write the figures here, as JSON")
    parser.add_argument("--key", env_var=KEY_VARIABLE, default="", is_secret=True, help="API key")


def _weigh_users(environment: Environment, **_: object) -> None:
    """Give each kind of user its number in the shape."""
    users = SHAPES[options_of(environment).shape].users
    for user in environment.user_classes:
        user.weight = users[user.__name__]


def _begin(environment: Environment, **_: object) -> None:
    """Say that everything is loaded and the users come now."""
    out = options_of(environment).out
    if out:
        Path(out).with_suffix(BEGUN_SUFFIX).touch()


def _tell(environment: Environment, **_: object) -> None:
    """Write what was measured."""
    out = options_of(environment).out
    if out:
        stats = environment.stats
        errors = [
            {"text": f"{each.name}: {each.error}", "count": each.occurrences}
            for each in stats.errors.values()
        ]
        rows = [_row(entry) for entry in stats.entries.values() if entry.num_requests]
        Path(out).write_text(json.dumps({"rows": rows, "errors": errors}))


def _row(entry: StatsEntry) -> dict[str, Any]:
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    return {
        "name": entry.name,
        "requests": entry.num_requests,
        "failures": entry.num_failures,
        **{name: entry.get_response_time_percentile(share) for name, share in shares.items()},
    }


for event, listener in (
    (events.init_command_line_parser, _add_options),
    (events.init, _weigh_users),
    (events.test_start, _begin),
    (events.quitting, _tell),
):
    event.add_listener(listener)  # type: ignore[no-untyped-call]
