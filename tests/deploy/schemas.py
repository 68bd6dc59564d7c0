"""What is wrong with a manifest, by the schemas of the Kubernetes versions that our lock knows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.deploy.custom_resources import SCHEMAS
from tests.deploy.kustomize import Resource

# Found, not imported: of the package only its files are wanted.
_PLACES = find_spec("kubernetes_validate").submodule_search_locations  # type: ignore[union-attr]
_FOLDER = Path(next(iter(_PLACES or ()))) / "kubernetes-json-schema"


@cache
def version() -> str:
    """Return the newest version whose strict schemas are there, such as `v1.37.0`."""
    folders = [folder.name for folder in _FOLDER.glob("v*-local-strict")]
    newest = max(folders, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
    return newest.removesuffix("-local-strict")


def errors(resource: Resource, of: str) -> list[str]:
    """Return what a cluster of a version would refuse; an unknown kind raises `OSError`."""
    name = f"{resource['kind']}/{resource['metadata']['name']}"
    validator = _validator(resource["apiVersion"], resource["kind"], of)
    found: Iterator[Any] = validator.iter_errors(resource)
    return [f"{name} {error.json_path}: {error.message}" for error in found]


@cache
def _validator(api_version: str, kind: str, of: str) -> Draft202012Validator:
    if kind in SCHEMAS:
        return Draft202012Validator(SCHEMAS[kind])
    group, _, number = api_version.rpartition("/")
    domain = f"{group.partition('.')[0]}-" if group else ""
    schema = json.loads((_schemas(of) / f"{kind.lower()}-{domain}{number}.json").read_text())
    return Draft202012Validator(schema, registry=_registry(of))


@cache
def _registry(of: str) -> Registry[Any]:
    definitions = json.loads((_schemas(of) / "_definitions.json").read_text())
    address = definitions.get("$id", "_definitions.json")
    resource = DRAFT202012.create_resource(definitions)
    registry: Registry[Any] = Registry().with_resource(address, resource)
    return registry


def _schemas(of: str) -> Path:
    return _FOLDER / f"{of}-local-strict"
