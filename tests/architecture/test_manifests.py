"""The manifests of deploy/ are what a cluster takes: restricted, and open to nobody unnamed."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.kustomize import containers, documents, pod_of
from tests.deploy.overlays import MANIFESTS, OVERLAYS, one, ours, rendered
from tests.deploy.schemas import errors, version

OLDEST = "v1.29.0"  # With native sidecars and their order of ending.


@pytest.mark.parametrize("of", [OLDEST, version()])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_cluster_takes_every_manifest(overlay: str, of: str) -> None:
    assert [error for each in rendered(overlay) for error in errors(each, of)] == []


def test_a_cluster_takes_the_secrets_of_the_example() -> None:
    examples = documents(MANIFESTS / "examples" / "secret.yaml")

    assert [error for each in examples for error in errors(each, version())] == []


@pytest.mark.parametrize("kind", ["Deployment", "Job", "NetworkPolicy", "ServiceMonitor"])
def test_a_misspelt_field_would_be_found(kind: str) -> None:
    wrong = copy.deepcopy(next(each for each in rendered("production") if each["kind"] == kind))
    wrong["spec"]["templates"] = 1

    assert "templates" in " ".join(errors(wrong, version()))


def test_the_schemas_are_newer_than_the_oldest_kubernetes_that_is_promised() -> None:
    promised = re.search(r"Kubernetes (\d+\.\d+) or newer", (MANIFESTS / "README.md").read_text())

    assert promised is not None
    assert f"v{promised[1]}.0" == OLDEST
    assert int(version().split(".")[1]) > int(OLDEST.split(".")[1])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted(overlay: str) -> None:
    pods = [pod for each in rendered(overlay) if (pod := pod_of(each)) is not None]

    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for each in pod.get("initContainers", []) + pod["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys()
            assert "memory" in each["resources"]["limits"]
    assert one("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == (
        "restricted"
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_addresses_come_from_secrets_alone(overlay: str) -> None:
    addresses = [
        entry
        for _, each in ours(overlay)
        for entry in each["env"]
        if entry["name"].endswith("_URL")
    ]

    assert addresses
    assert [entry for entry in addresses if "secretKeyRef" not in entry.get("valueFrom", {})] == []
    assert [each for each in rendered(overlay) if each["kind"] == "Secret"] == []


def test_the_secrets_that_are_asked_for_are_in_the_example() -> None:
    there = {
        (each["metadata"]["name"], key)
        for each in documents(MANIFESTS / "examples" / "secret.yaml")
        for key in each["stringData"]
    }
    asked = set()
    for overlay in OVERLAYS:
        for each in rendered(overlay):
            for found in containers(each):
                for entry in found.get("env", ()):
                    reference = entry.get("valueFrom", {}).get("secretKeyRef")
                    if reference:
                        asked.add((reference["name"], reference["key"]))
    credentials = one("ServiceMonitor")["spec"]["endpoints"][0]["authorization"]["credentials"]

    assert asked | {(credentials["name"], credentials["key"])} == there


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_selector_selects_the_pods_it_is_for(overlay: str) -> None:
    labels = one("Deployment", overlay=overlay)["spec"]["template"]["metadata"]["labels"].items()
    selectors = {
        "Deployment": one("Deployment", overlay=overlay)["spec"]["selector"]["matchLabels"],
        "Service": one("Service", overlay=overlay)["spec"]["selector"],
        **{
            f"{constraint['topologyKey']}": constraint["labelSelector"]["matchLabels"]
            for constraint in pod_of(one("Deployment", overlay=overlay))[  # type: ignore[index]
                "topologySpreadConstraints"
            ]
        },
    }
    if overlay == "production":
        selectors["PodDisruptionBudget"] = one("PodDisruptionBudget")["spec"]["selector"][
            "matchLabels"
        ]

    assert {name for name, selector in selectors.items() if not selector.items() <= labels} == set()
    monitored = one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    assert monitored <= one("Service")["metadata"]["labels"].items()


def test_nothing_reaches_a_pod_or_leaves_it_unless_it_is_named() -> None:
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in rendered("production")
        if each["kind"] == "NetworkPolicy"
    }

    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ports = {
        entry["port"]
        for spec in policies.values()
        for way in spec.get("egress", ())
        for entry in way["ports"]
    }
    assert ports == {53, 443, 5432, 6379, 6432, 26379}
    assert all(way.get("to") for spec in policies.values() for way in spec.get("egress", ()))


def test_every_file_of_the_manifests_is_used() -> None:
    def used(folder: Path) -> Iterator[Path]:
        (kustomization,) = documents(folder / "kustomization.yaml")
        yield folder / "kustomization.yaml"
        names = [*kustomization.get("resources", ()), *kustomization.get("components", ())]
        names += [patch["path"] for patch in kustomization.get("patches", ())]
        for path in ((folder / name).resolve() for name in names):
            yield from used(path) if path.is_dir() else [path]

    there = {path for path in MANIFESTS.rglob("*.yaml") if path.parent.name != "examples"}

    found = {path for name in OVERLAYS for path in used(MANIFESTS / "overlays" / name)}
    assert there == {path for path in found if MANIFESTS in path.parents}
