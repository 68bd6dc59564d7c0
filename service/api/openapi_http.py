"""What the OpenAPI document says of answers that any request may get, whatever it asks for."""

from __future__ import annotations

from typing import Any

from service.api.errors import PROBLEM_MEDIA_TYPE

_PROBLEM = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
# Status: its name among the components, and what it means. Most come from the server, before
# the application sees the request.
_ANSWERS = {
    "400": ("BadRequest", "It is not HTTP, or the URL is none."),
    "405": ("MethodNotAllowed", "Another method is served here."),
    "408": ("RequestTimeout", "Its head or its body did not come within 10 seconds each."),
    "414": ("UriTooLong", "The URL is longer than 8 KiB."),
    "431": ("RequestHeaderFieldsTooLarge", "The headers are longer than 16 KiB, or above 100."),
    "500": ("InternalServerError", "An unexpected error, which was logged."),
}


def describe(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with these answers under every operation."""
    responses = document.setdefault("components", {}).setdefault("responses", {})
    for name, description in _ANSWERS.values():
        responses[name] = {"description": description, "content": _PROBLEM}
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, (name, _) in _ANSWERS.items():
                reference = {"$ref": f"#/components/responses/{name}"}
                operation["responses"].setdefault(status, reference)
    return document
