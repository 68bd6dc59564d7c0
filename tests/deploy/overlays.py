"""The rendered overlays, and the parts of them that tests ask for by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.deploy.kustomize import Resource, containers, pod_of, render

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "deploy" / "k8s"
OVERLAYS = ("dev", "production")


@cache
def rendered(overlay: str) -> list[Resource]:
    """Return the resources of an overlay, which nobody may change."""
    return render(MANIFESTS / "overlays" / overlay)


def one(kind: str, name: str = "promobandit", overlay: str = "production") -> Resource:
    """Return one resource of an overlay."""
    wanted = kind, name
    all_of_them = rendered(overlay)
    (found,) = [each for each in all_of_them if (each["kind"], each["metadata"]["name"]) == wanted]
    return found


def ours(overlay: str) -> Iterator[tuple[Resource, Resource]]:
    """Walk the containers of our image, each with the specification of its pod."""
    for resource in rendered(overlay):
        for each in containers(resource):
            if each["image"].rpartition("/")[2].startswith("promobandit:"):
                yield pod_of(resource) or {}, each


def container(name: str, overlay: str = "production") -> Resource:
    """Return one of our containers."""
    (found,) = [each for _, each in ours(overlay) if each["name"] == name]
    return found


def values_of(found: Resource) -> dict[str, str]:
    """Return the variables of a container whose values stand in the manifest."""
    return {entry["name"]: entry["value"] for entry in found["env"] if "value" in entry}
