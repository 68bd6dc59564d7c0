"""The gate of all but the hot routes: who asks, whether they may, and whether there is room."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.admission import Admission, Priority
from service.api.authentication import Authentication, Holder
from service.api.authorization import scope_of
from service.api.errors import on_service_error
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
        # Only reports give way to choices. An experiment must be paused most of all when much
        # is asked, and those who watch must see it.
        self._reports = admission.limit(Priority.REPORT)
        self._refuse = admission.refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its principal, or answer why not."""
        needed = self._needed(scope) if scope["type"] == "http" else None
        if needed is None:
            await self._app(scope, receive, send)
            return
        is_report = needed is access.Scope.REPORT
        try:
            holder = self._admitted(scope, needed)
        except ServiceError as error:
            await on_service_error(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = holder.principal
        self._reports.in_flight += is_report
        try:
            await self._app(scope, receive, send)
        finally:
            self._reports.in_flight -= is_report

    def _needed(self, scope: Scope) -> access.Scope | None:
        """Return the scope the route needs; a path that is no route's has nothing to guard."""
        for route in self._routes:
            if route.path_regex.match(scope["path"]):
                return scope_of(route.path, scope["method"])
        return None

    def _admitted(self, scope: Scope, needed: access.Scope) -> Holder:
        holder = self._authentication.holder(dict(scope["headers"]), needed)
        if holder.limit is not None:
            holder.limit.take(1)
        if needed is access.Scope.REPORT and not self._reports.has_room():
            raise self._refuse(Priority.REPORT)
        return holder
