"""How much is asked of the service, and how that changes: every number has its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# People and machines that ask, act on the answer, and ask again (closed loop, by Locust).
TEMPLATE_USERS = 16  # Servers that render e-mails and pull a variant for each.
TEMPLATE_PULLS_PER_SECOND = 5.0  # Each.
BURST_USERS = 6  # Triggered mails: nothing for a while, then many at once.
BURST_CHOICES = 20
BURST_SECONDS = 4.0  # From one burst to the next.
SEND_USERS = 2  # Newsletters: a whole send in a row of batches.
SEND_CALLS = 4
SEND_UNITS = 500  # Of a call.
SEND_SECONDS = 4.0  # From the beginning of one send to that of the next.
WEBHOOK_USERS = 4  # Deliver conversions as they come due.
ANALYST_USERS = 2
ANALYST_SECONDS = 5.0  # From one look to the next.
OPERATOR_USERS = 1
OPERATOR_SECONDS = 5.0

# What the open-loop sender adds, a second, each request at its set time: the SLA figures.
SENDER_RATES: Mapping[str, float] = {
    "POST /choose": 120.0,
    "GET /choose": 60.0,
    "POST /choose/batch": 2.0,
    "POST /reward": 40.0,
    "POST /reward/batch": 1.0,
    "reports": 1.0,
}
SENDER_UNITS = 200  # Of a batch of choices.
SENDER_REWARDS = 50  # Of a batch of rewards.

RETRY_SHARE = 0.05  # Of template pulls and sends that are asked for again, as after a time-out.
REPEATED_SHARE = 0.02  # Of webhooks that are delivered twice.
DAYS_PER_RUN = 30.0  # Conversions come days after their mail, and a run is a month long.

USERS: Mapping[str, int] = {
    "TemplateUser": TEMPLATE_USERS,
    "BurstUser": BURST_USERS,
    "SendUser": SEND_USERS,
    "WebhookUser": WEBHOOK_USERS,
    "AnalystUser": ANALYST_USERS,
    "OperatorUser": OPERATOR_USERS,
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run, and how many times the shape's load it brings."""

    until: float  # As a share of the run.
    factor: float


@dataclass(frozen=True, slots=True)
class Shape:
    """A load with a name."""

    name: str
    text: str
    seconds: float
    users: Mapping[str, int] = field(default_factory=lambda: USERS)
    sender_factor: float = 1.0  # Of `SENDER_RATES`.
    stages: tuple[Stage, ...] = (Stage(1.0, 1.0),)
    # Whether times are held to the objectives. Where anything else may run on the machine, only
    # what was answered is judged.
    is_timed: bool = True
    is_soak: bool = False

    def factor(self, share: float) -> float:
        """Return how many times its load the shape brings at a share of the run."""
        return next((s.factor for s in self.stages if share < s.until), self.stages[-1].factor)

    def rates(self) -> dict[str, float]:
        """Return what the open-loop sender asks a second, where the factor is 1."""
        return {name: rate * self.sender_factor for name, rate in SENDER_RATES.items()}


SMOKE = Shape(
    "smoke",
    "one of each user, to show that everything works; times are shown and not judged",
    5.0,
    users=dict.fromkeys(USERS, 1),
    sender_factor=0.5,  # Each route is asked within the first three seconds.
    is_timed=False,
)
AVERAGE = Shape("average", "an ordinary hour of a busy day", 60.0)
PEAK = Shape(
    "peak",
    "a busy day's worst minutes: average, up to three times as much, and back",
    120.0,
    stages=(Stage(0.2, 1.0), Stage(0.4, 2.0), Stage(0.8, 3.0), Stage(1.0, 1.0)),
)
SOAK = Shape("soak", "average for long, to find what grows", 1_200.0, is_soak=True)
SHAPES: Mapping[str, Shape] = {shape.name: shape for shape in (SMOKE, AVERAGE, PEAK, SOAK)}
