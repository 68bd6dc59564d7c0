"""Which scope a route needs: closed by default, so that a new route is never open by mistake."""

from __future__ import annotations

from service.domain.access import Scope

PUBLIC = frozenset({"/", "/livez", "/readyz", "/openapi.json"})
# What is no experiment's reading or changing; a prefix of the route's template.
_OF_PREFIX = (
    ("/metrics", Scope.METRICS),
    ("/sla", Scope.METRICS),
    ("/choose", Scope.CHOOSE),
    ("/reward", Scope.REWARD),
    ("/erasures", Scope.ADMIN),
    ("/trail", Scope.ADMIN),
    ("/webhooks", Scope.ADMIN),  # Reading too: a url may hold a secret.
)
_READS = frozenset({"GET", "HEAD"})
_TRAIL = "/trail"  # Who did what concerns administrators only.


def scope_of(path: str, method: str) -> Scope | None:
    """Return the scope that a route's template and method need; None for a public one."""
    if path in PUBLIC:
        return None
    for prefix, scope in _OF_PREFIX:
        if path == prefix or path.startswith(f"{prefix}/"):
            return scope
    return Scope.REPORT if method in _READS and not path.endswith(_TRAIL) else Scope.ADMIN
