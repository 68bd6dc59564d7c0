"""The gate of all but the hot routes: who asks, whether they may, and whether there is room."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.admission import Admission, Priority
from service.api.authentication import Authentication, Holder
from service.api.authorization import scope_of
from service.api.errors import on_service_error
from service.api.heads import fields_of
from service.domain import access
from service.errors import ServiceError


class Gate:
    """Refuses a request before anything of its body is read; notes whom it acts as."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[APIRoute],
        authentication: Authentication,
        admission: Admission,
    ) -> None:
        self._app = app
        self._routes = routes
        self._authentication = authentication
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its principal, or answer why not."""
        route = self._route(scope) if scope["type"] == "http" else None
        needed = None if route is None else scope_of(route, scope["method"])
        if route is None or needed is None:
            await self._app(scope, receive, send)
            return
        limit = self._admission.limit(_priority(route))
        is_limited = needed is access.Scope.REPORT
        try:
            holder = self._admitted(scope, needed)
            if is_limited and not limit.has_room():
                raise self._admission.refuse(_priority(route))
        except ServiceError as error:
            await on_service_error(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = holder.principal
        limit.in_flight += is_limited
        try:
            await self._app(scope, receive, send)
        finally:
            limit.in_flight -= is_limited

    def _route(self, scope: Scope) -> str | None:
        """Return the route's template; a path that is no route's has nothing to guard."""
        for route in self._routes:
            if route.path_regex.match(scope["path"]):
                return route.path
        return None

    def _admitted(self, scope: Scope, needed: access.Scope) -> Holder:
        holder = self._authentication.holder(fields_of(scope), needed)
        if holder.limit is not None:
            holder.limit.take(1)
        return holder


def _priority(route: str) -> Priority:
    """Return whose places a reading takes: exports last long, and must not keep reports out.

    Only readings give way to choices. An experiment must be paused most of all when much is
    asked, and those who watch must see it.
    """
    return Priority.EXPORT if "/decisions." in route else Priority.REPORT
