"""The HTTP application: hot routes in front, FastAPI behind them, one lifespan for both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.api import (
    errors,
    experiments,
    exports,
    hot_openapi,
    openapi_access,
    openapi_http,
    operations,
    privacy,
    quality,
    reports,
    sla,
    trail,
    webhooks,
)
from service.api.admission import Admission
from service.api.authentication import Authentication
from service.api.dependencies import Services
from service.api.gate import Gate
from service.api.guard import BodyGuard, HeadAsGet, Stopwatch
from service.api.hot import HotRoutes
from service.api.hot_dispatch import HotDispatcher
from service.api.request_ids import RequestIds
from service.api.schemas import field_names, struct_components
from service.api.security_headers import SecurityHeaders

_DESCRIPTION = (
    "Picks which variant of a promotion e-mail each recipient gets, learns from conversions, and "
    "moves the next sends toward the variants that over-perform. Errors are problem documents "
    "(RFC 9457); times are RFC 3339 in UTC."
)
_TAGS = [
    {"name": "choices", "description": "Which variant a unit gets."},
    {"name": "rewards", "description": "What became of a decision."},
    {"name": "experiments", "description": "Variants, policy, reward definition and state."},
    {"name": "reports", "description": "Numbers per variant, with their uncertainty."},
    {"name": "exports", "description": "Every decision with its propensity and rewards."},
    {"name": "privacy", "description": "Erasing a unit."},
    {"name": "webhooks", "description": "Telling other systems what was found out."},
    {"name": "operations", "description": "Health and metrics."},
]


class Application(FastAPI):
    """FastAPI with the hot routes and the msgspec bodies in its OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(struct_components())
            for part in (hot_openapi, openapi_http, openapi_access):
                part.describe(document)
            self.openapi_schema = document
        return self.openapi_schema


def create_app(services: Services) -> HotDispatcher:
    """Return the whole application."""
    routes = HotRoutes(services.decisions, services.bulk, services.rewards)
    authentication, admission = (
        Authentication(services.keyring),
        Admission(services.metrics.overload),
    )
    inner = _inner(services, authentication, admission)
    behind = SecurityHeaders(RequestIds(HeadAsGet(inner)))
    return HotDispatcher(routes, authentication, admission, behind, services.metrics)


def _inner(services: Services, authentication: Authentication, admission: Admission) -> Application:
    app = Application(
        title="promobandit",
        description=_DESCRIPTION,
        version="0.1.0",
        openapi_tags=_TAGS,
        # The interactive pages load scripts from elsewhere, which a closed network has not.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        separate_input_output_schemas=False,
        lifespan=_lifespan,
    )
    app.state.services = services
    app.state.admission = admission
    rooms = (experiments, reports, quality, exports, privacy, webhooks, operations, sla, trail)
    routers = [room.router for room in rooms]
    for router in routers:
        app.include_router(router)
    routes = [r for router in routers for r in router.routes if isinstance(r, APIRoute)]
    errors.install(app, routes, field_names())
    app.add_middleware(BodyGuard)
    app.add_middleware(Gate, routes=routes, authentication=authentication, admission=admission)
    app.add_middleware(Stopwatch, metrics=services.metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    admission: Admission = app.state.admission
    await services.start()
    admission.start()
    try:
        yield
    finally:
        admission.stop()
        await services.stop()
