"""What the OpenAPI document says of keys: which scope an operation needs, and its refusals."""

from __future__ import annotations

from typing import Any

from service.api.authorization import scope_of
from service.api.errors import PROBLEM_MEDIA_TYPE
from service.domain.access import Scope

SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: `Authorization: Bearer pb_...`. While no key was ever made "
        "and the service listens on the loopback only, none is needed.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The same key as the password, with any user name.",
    },
    "url": {
        "type": "apiKey",
        "in": "query",
        "name": "key",
        "description": "For e-mail templates, which can send nothing but a URL: a key whose only "
        "scope is `choose`.",
    },
}
_REFUSALS = {
    "401": "No valid API key was shown.",
    "403": "The key lacks the scope.",
    "429": "The key's rate limit is used up; Retry-After says when to come back.",
    "503": "Too much is asked at once, or a part that is needed cannot be reached; try again.",
}
_PROBLEM = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the keys described."""
    document.setdefault("components", {})["securitySchemes"] = SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = scope_of(path, method.upper())
            if needed is not None:
                _guard(operation, needed, by_url=(path, method) == ("/choose", "get"))
    return document


def _guard(operation: dict[str, Any], needed: Scope, *, by_url: bool) -> None:
    schemes = ("bearer", "basic", "url") if by_url else ("bearer", "basic")
    operation["security"] = [{scheme: [] if scheme == "url" else [needed]} for scheme in schemes]
    operation["description"] = "\n\n".join(
        [*filter(None, [operation.get("description")]), f"Needs the scope `{needed}`."]
    )
    for status, description in _REFUSALS.items():
        answer = {"description": description, "content": _PROBLEM}
        operation["responses"].setdefault(status, answer)
