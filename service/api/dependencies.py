"""What the routers are given: the services of this process, the tenant and the actor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Header, Path, Request

from service.api.authentication import Keyring
from service.api.departure import Departure
from service.bulk import Bulk
from service.decisions import Decisions
from service.domain.access import AdminAct, Principal
from service.domain.clock import Clock
from service.domain.limits import ID_PATTERN
from service.domain.serving import ServingTable
from service.errors import InvalidInputError
from service.experiments import Experiments, Target
from service.metrics import Metrics
from service.metrics.scrapes import Scrapes
from service.privacy import Erasures
from service.quality import Healths
from service.reporting.exports import Exports
from service.reporting.report import Reports
from service.reporting.service_level_book import ServiceLevelBook
from service.rewards import Rewards
from service.webhooks import Webhooks

ACTOR_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,63}$"
ACTOR_DEFAULT = "anonymous"
RESERVED_ACTORS = ("key:", "cli:")  # The service writes these, and nobody else may.


class Health(Protocol):
    """Whether this process may be sent traffic."""

    async def reasons(self) -> list[str]:
        """Return why the process is not ready, in plain words; empty when it is."""
        ...


class Tables(Protocol):
    """Where the allocations in force are looked up."""

    async def find(self, tenant: int, experiment_id: str) -> ServingTable:
        """Return an experiment's table, or raise `ExperimentNotFoundError`."""
        ...


class Acts(Protocol):
    """Where administrative acts are looked up that are not about one experiment."""

    async def of_tenant(self, tenant: int, limit: int, after: int = 0) -> list[AdminAct]:
        """Return at most `limit` acts of a tenant, oldest first; `after` is the last id seen."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything the HTTP layer calls; `service.bootstrap` and the tests build it."""

    decisions: Decisions
    rewards: Rewards
    bulk: Bulk
    experiments: Experiments
    allocations: Tables
    reports: Reports
    exports: Exports
    healths: Healths
    erasures: Erasures
    webhooks: Webhooks
    metrics: Metrics
    scrapes: Scrapes
    service_levels: ServiceLevelBook
    health: Health
    clock: Clock
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    keyring: Keyring
    acts: Acts
    departure: Departure = field(default_factory=Departure)


def services_of(request: Request) -> Services:
    """Return the services the application was created with."""
    services: Services = request.app.state.services
    return services


def principal_of(request: Request) -> Principal:
    """Return whom a request acts as; the gate has found it out."""
    principal: Principal = request.state.principal
    return principal


PrincipalDep = Annotated[Principal, Depends(principal_of)]


def tenant_of(principal: PrincipalDep) -> int:
    """Return the tenant whose experiments a request sees."""
    return principal.tenant


ServicesDep = Annotated[Services, Depends(services_of)]
TenantDep = Annotated[int, Depends(tenant_of)]
ExperimentId = Annotated[
    str, Path(pattern=ID_PATTERN, description="The experiment's id.", examples=["spring-sale"])
]
VariantId = Annotated[
    str, Path(pattern=ID_PATTERN, description="The variant's id.", examples=["ten-off"])
]
Actor = Annotated[
    str,
    Header(
        alias="X-Actor",
        pattern=ACTOR_PATTERN,
        description="Who does it, for the audit trail.",
        examples=["ada@example.com"],
    ),
]


def actor_of(principal: PrincipalDep, actor: Actor = ACTOR_DEFAULT) -> str:
    """Return who acts: what they say of themselves, and the key that proves it."""
    if actor.startswith(RESERVED_ACTORS):
        raise InvalidInputError("X-Actor must not start with key: or cli:")
    if principal.key_id is None:
        return actor
    key = f"key:{principal.key_id}"
    return key if actor == ACTOR_DEFAULT else f"{actor} by {key}"


ActorDep = Annotated[str, Depends(actor_of)]


def target_of(experiment_id: ExperimentId, tenant: TenantDep, actor: ActorDep) -> Target:
    """Return which experiment is meant, and who acts on it."""
    return Target(tenant, experiment_id, actor)


def experiments_of(services: Annotated[Services, Depends(services_of)]) -> Experiments:
    """Return the use case behind the admin routes."""
    return services.experiments


TargetDep = Annotated[Target, Depends(target_of)]
ExperimentsDep = Annotated[Experiments, Depends(experiments_of)]
