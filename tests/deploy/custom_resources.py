"""What the Prometheus operator takes of a ServiceMonitor and a PrometheusRule, as far as ours go.

Cut down from the definitions of prometheus-operator v0.82 (`monitoring.coreos.com/v1`, files
`monitoring.coreos.com_servicemonitors.yaml` and `monitoring.coreos.com_prometheusrules.yaml` of
its `example/prometheus-operator-crd`). Fields we do not use are left out and so refused: whoever
uses another one adds it from there.
"""

from __future__ import annotations

from typing import Any, TypeAlias

DURATION = (
    r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"
)
Schema: TypeAlias = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _resource(kind: str, spec: Schema) -> Schema:
    metadata = _object(("name",), name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
    return _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )


_SECRET_KEY = _object(("key",), name=TEXT, key=TEXT, optional={"type": "boolean"})
_DURATION = {"type": "string", "pattern": DURATION}
_ENDPOINT = _object(
    port=TEXT,
    path=TEXT,
    scheme={"enum": ["http", "https"]},
    interval=_DURATION,
    scrapeTimeout=_DURATION,
    authorization=_object(type=TEXT, credentials=_SECRET_KEY),
)
_RULE = _object(
    ("expr",),
    alert=TEXT,
    annotations=TEXTS,
    expr={"type": ["string", "integer"]},
    **{"for": _DURATION},
    keep_firing_for={**_DURATION, "minLength": 1},
    labels=TEXTS,
    record=TEXT,
)
_GROUP = _object(
    ("name",),
    interval=_DURATION,
    labels=TEXTS,
    limit={"type": "integer"},
    name={**TEXT, "minLength": 1},
    query_offset=_DURATION,
    rules={"type": "array", "items": _RULE},
)

SCHEMAS = {
    "ServiceMonitor": _resource(
        "ServiceMonitor",
        _object(
            ("endpoints", "selector"),
            endpoints={"type": "array", "items": _ENDPOINT},
            selector=_object(matchLabels=TEXTS),
        ),
    ),
    "PrometheusRule": _resource(
        "PrometheusRule", _object(groups={"type": "array", "items": _GROUP})
    ),
}
