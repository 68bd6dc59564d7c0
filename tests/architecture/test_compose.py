"""docker-compose.yml is what Compose takes, listens on the loopback, and speaks of this service."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from jsonschema import validators

from service.cli.commands import _parser
from service.cli.processes import API_STOP_SECONDS, WORKER_STOP_SECONDS
from service.settings import Settings
from tests.architecture.sources import ROOT
from tests.architecture.test_manifests_and_code import in_dockerfile
from tests.architecture.test_readme import variable
from tests.deploy.kustomize import Resource, documents
from tests.deploy.overlays import container

COMPOSE: Resource = documents(ROOT / "docker-compose.yml")[0]
SERVICES: dict[str, Resource] = COMPOSE["services"]
OURS = {
    name: service
    for name, service in SERVICES.items()
    if service["image"].startswith("promobandit")
}


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_compose_takes_the_file() -> None:
    # The schema of the Compose specification itself, which this development dependency ships.
    spec = find_spec("check_jsonschema")
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or ())))
    schema = json.loads((folder / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
    validator = validators.validator_for(schema)(schema)

    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    assert list(validator.iter_errors({**COMPOSE, "servces": {}}))


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_a_version_and_every_port_is_the_loopbacks(name: str) -> None:
    service = SERVICES[name]

    assert re.search(r":v?\d+\.\d+", service["image"])
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_it_runs_the_commands_of_this_version_with_its_settings() -> None:
    settings = {variable(name) for name in Settings.model_fields}

    for service in OURS.values():
        assert service["image"] == container("api", "dev")["image"]
        assert service["environment"].keys() <= settings
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    commands = {
        name: _parser().parse_args(service["command"]).command
        for name, service in OURS.items()
        if "entrypoint" not in service
    }
    assert commands == {"migrate": "migrate", "worker": "worker", "promobandit": "api"}


def test_the_key_it_makes_is_one_that_prometheus_reads() -> None:
    (script,) = OURS["metrics-key"]["command"]
    made = re.search(r"promobandit (keys create .*?) >", script)
    assert made is not None
    scraping = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (job,) = scraping["scrape_configs"]

    assert _parser().parse_args(made[1].split()).scope == ["metrics"]
    assert "/keys/metrics-key" in script
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics-key"
    assert "keys:/run/secrets:ro" in SERVICES["prometheus"]["volumes"]
    served = in_dockerfile("EXPOSE")
    assert job["static_configs"] == [{"targets": [f"promobandit:{served}"]}]
    assert OURS["promobandit"]["ports"] == [f"127.0.0.1:{served}:{served}"]


def test_the_worker_shares_the_outbox_of_the_api_and_ends_after_it() -> None:
    api, worker = OURS["promobandit"], OURS["worker"]

    assert api["volumes"] == worker["volumes"]
    assert "worker" in api["depends_on"]  # Compose ends who depends on others before them.
    assert seconds(api["stop_grace_period"]) > API_STOP_SECONDS
    last_drain = Settings.model_fields["last_drain_seconds"].default
    assert seconds(worker["stop_grace_period"]) > WORKER_STOP_SECONDS + last_drain


def test_it_asks_a_route_for_health_and_mounts_files_that_exist() -> None:
    (asked,) = re.findall(
        r"http://127.0.0.1:\d+(/\w+)", OURS["promobandit"]["healthcheck"]["test"][-1]
    )
    mounted = [
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    ]

    assert asked == container("api")["readinessProbe"]["httpGet"]["path"]
    assert mounted
    assert [path for path in mounted if not (ROOT / path).is_dir()] == []
    assert set(COMPOSE["volumes"]) == {
        name
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
        if not (name := volume.partition(":")[0]).startswith(".")
    }
