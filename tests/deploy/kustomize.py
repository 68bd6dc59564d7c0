"""Render the kustomizations of deploy/ without the program, so that every test sees the result.

It knows what ours use and refuses anything else; a test compares it with the real program.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, cast

import yaml

Resource: TypeAlias = dict[str, Any]

# What entries of a list are merged by, where a strategic patch does not replace the list.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
}
CLUSTER_WIDE = ("Namespace",)


def render(folder: Path) -> list[Resource]:
    """Return the resources that a kustomization stands for."""
    return _built(folder, [])


def documents(path: Path) -> list[Resource]:
    """Return the documents of a YAML file, none of which shares a part with another."""
    loaded = yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader)
    return [cast(Resource, _without_anchors(each)) for each in loaded if each]


def _without_anchors(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_anchors(each) for key, each in value.items()}
    return [_without_anchors(each) for each in value] if isinstance(value, list) else value


def _built(folder: Path, resources: list[Resource]) -> list[Resource]:
    """Add a kustomization's own resources to some, and change them all as it says."""
    (kustomization,) = documents(folder / "kustomization.yaml")
    kind = kustomization.pop("kind"), kustomization.pop("apiVersion").partition("/")[2]
    assert kind in (("Kustomization", "v1beta1"), ("Component", "v1alpha1")), kind
    built = resources
    # In kustomize's order, whatever order the file has.
    for field, step in _STEPS.items():
        if field in kustomization:
            built = step(built, kustomization.pop(field), folder, kustomization)
    assert not kustomization, f"this renderer does not know {sorted(kustomization)}"
    return built


def _add_resources(
    built: list[Resource], names: list[str], folder: Path, _rest: Resource
) -> list[Resource]:
    for name in names:
        path = folder / name
        built = built + (render(path) if path.is_dir() else documents(path))
    return built


def _generate(
    built: list[Resource], wishes: list[Resource], folder: Path, rest: Resource
) -> list[Resource]:
    options = rest.pop("generatorOptions")
    # A suffix would be a hash that only kustomize makes; nothing here refers to these by name.
    assert options.pop("disableNameSuffixHash") is True
    for wish in wishes:
        data = {Path(name).name: (folder / name).read_text() for name in wish.pop("files")}
        metadata = {"name": wish.pop("name"), **copy.deepcopy(options)}
        assert not wish, f"this renderer does not know {sorted(wish)}"
        built = [
            *built,
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
        ]
    return built


def _add_components(
    built: list[Resource], names: list[str], folder: Path, _rest: Resource
) -> list[Resource]:
    for name in names:
        built = _built(folder / name, built)
    return built


def _patch(
    built: list[Resource], wishes: list[Resource], folder: Path, _rest: Resource
) -> list[Resource]:
    for wish in wishes:
        assert set(wish) == {"path"}, f"this renderer does not know {sorted(wish)}"
        for patch in documents(folder / wish["path"]):
            (target,) = [each for each in built if identity(each) == identity(patch)]
            _merge(target, patch)
    return built


def _set_namespace(
    built: list[Resource], namespace: str, _folder: Path, _rest: Resource
) -> list[Resource]:
    for each in built:
        if each["kind"] not in CLUSTER_WIDE:
            each["metadata"]["namespace"] = namespace
    return built


def _add_labels(
    built: list[Resource], wishes: list[Resource], _folder: Path, _rest: Resource
) -> list[Resource]:
    for wish in wishes:
        assert set(wish) == {"pairs"}, f"this renderer does not know {sorted(wish)}"
        for each in built:
            each["metadata"].setdefault("labels", {}).update(wish["pairs"])
    return built


def _set_images(
    built: list[Resource], wishes: list[Resource], _folder: Path, _rest: Resource
) -> list[Resource]:
    changes = {wish["name"]: wish for wish in wishes}
    for container in (found for each in built for found in containers(each)):
        name = container["image"].partition(":")[0]
        if name in changes:
            wish = changes[name]
            container["image"] = f"{wish.get('newName', name)}:{wish['newTag']}"
    return built


_STEPS: dict[str, Callable[[list[Resource], Any, Path, Resource], list[Resource]]] = {
    "resources": _add_resources,
    "configMapGenerator": _generate,
    "components": _add_components,
    "patches": _patch,
    "namespace": _set_namespace,
    "labels": _add_labels,
    "images": _set_images,
}


def identity(resource: Resource) -> tuple[str, str, str]:
    """Return what tells a resource from the others of its namespace."""
    return resource["apiVersion"], resource["kind"], resource["metadata"]["name"]


def pod_of(resource: Resource) -> Resource | None:
    """Return the specification of the pods that a resource makes, if it makes any."""
    template = resource.get("spec", {}).get("template", {})
    pod: Resource | None = template.get("spec") if isinstance(template, dict) else None
    return pod


def containers(resource: Resource) -> Iterator[Resource]:
    """Walk the containers of a resource's pods, those that run beside or before others first."""
    pod = pod_of(resource) or {}
    yield from pod.get("initContainers", ())
    yield from pod.get("containers", ())


def _merge(target: Resource, patch: Resource) -> None:
    for field, value in patch.items():
        if value is None:
            target.pop(field, None)
        elif isinstance(value, dict) and isinstance(target.get(field), dict):
            _merge(target[field], value)
        elif field in MERGE_KEYS and field in target:
            _merge_list(target[field], value, MERGE_KEYS[field])
        else:
            target[field] = _without_nothing(value)


def _merge_list(target: list[Resource], patches: list[Resource], key: str) -> None:
    known = {each[key]: each for each in target}
    for patch in patches:
        if patch[key] in known:
            _merge(known[patch[key]], patch)
        else:
            known[patch[key]] = cast(Resource, _without_nothing(patch))
    first = [patch[key] for patch in patches]  # Where kustomize puts what it touched.
    target[:] = [known[name] for name in first + [name for name in known if name not in first]]


def _without_nothing(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nothing(each) for key, each in value.items() if each is not None}
    return value
