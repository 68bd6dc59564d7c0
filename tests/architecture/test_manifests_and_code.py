"""The manifests of deploy/ speak of this service: its commands, settings, routes and metrics."""

from __future__ import annotations

import re
import tomllib
from ipaddress import ip_address

import pytest

from service.api.operations import get_live
from service.cli.commands import _parser
from service.cli.processes import API_STOP_SECONDS, WORKER_STOP_SECONDS
from service.settings import Settings
from tests.architecture.sources import ROOT
from tests.architecture.test_readme import routes, variable
from tests.deploy import rule
from tests.deploy.overlays import MANIFESTS, OVERLAYS, container, one, ours, rendered, values_of

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def in_dockerfile(instruction: str) -> str:
    return str(re.findall(rf"^{instruction} (.+)$", DOCKERFILE, re.MULTILINE)[-1]).strip()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_image_is_this_version_of_the_service(overlay: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    tags = {each["image"].rpartition(":")[2] for _, each in ours(overlay)}

    assert tags == {project["version"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_pods_run_as_the_user_of_the_image(overlay: str) -> None:
    user, group = map(int, in_dockerfile("USER").split(":"))

    for pod, _ in ours(overlay):
        assert pod["securityContext"]["runAsUser"] == user
        assert pod["securityContext"]["runAsGroup"] == group


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_command_line_is_one_of_ours(overlay: str) -> None:
    parsed = {each["name"]: _parser().parse_args(each["args"]) for _, each in ours(overlay)}

    assert {name: options.command for name, options in parsed.items()} == {
        "worker": "worker",
        "api": "api",
        "migrate": "migrate",
    }
    assert not ip_address(parsed["api"].host).is_loopback


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting(overlay: str) -> None:
    settings = {variable(name) for name in Settings.model_fields}

    named = {entry["name"] for _, each in ours(overlay) for entry in each["env"]}

    assert named <= settings
    assert {"REDIS_URL", "DATABASE_URL"} <= named


def test_probes_and_scrapes_ask_for_routes_that_exist() -> None:
    api = container("api")
    probes = {name: api[name]["httpGet"] for name in api if name.endswith("Probe")}
    paths = {name: probe["path"] for name, probe in probes.items()}

    assert paths == {
        "startupProbe": "/livez",
        "readinessProbe": "/readyz",
        "livenessProbe": "/livez",
    }
    scraped = one("ServiceMonitor")["spec"]["endpoints"][0]["path"]
    assert {f"GET {path}" for path in (*paths.values(), scraped)} <= set(routes())


def test_what_a_liveness_probe_asks_for_has_no_store_to_ask() -> None:
    assert get_live.__annotations__.keys() == {"return"}


def test_every_port_is_the_one_that_the_image_serves() -> None:
    served = int(in_dockerfile("EXPOSE"))
    api = container("api")
    (port,) = api["ports"]

    assert port["containerPort"] == served == _parser().parse_args(api["args"]).port
    names = {api[name]["httpGet"]["port"] for name in api if name.endswith("Probe")}
    names.add(one("Service")["spec"]["ports"][0]["targetPort"])
    assert names == {port["name"]} == {one("Service")["spec"]["ports"][0]["name"]}
    assert one("ServiceMonitor")["spec"]["endpoints"][0]["port"] == port["name"]
    assert one("NetworkPolicy", "api-ingress")["spec"]["ingress"][0]["ports"] == [{"port": served}]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_worker_ends_after_the_api_and_both_have_the_time_for_it(overlay: str) -> None:
    (pod, worker) = next(found for found in ours(overlay) if found[1]["name"] == "worker")
    draining = float(values_of(container("api", overlay))["PROMOBANDIT_DRAIN_SECONDS"])
    default = Settings.model_fields["last_drain_seconds"].default
    last_drain = float(values_of(worker).get("PROMOBANDIT_LAST_DRAIN_SECONDS", default))

    # A native sidecar: it is told to end when the other containers have ended.
    assert worker["restartPolicy"] == "Always"
    assert worker in pod["initContainers"]
    needed = draining + API_STOP_SECONDS + WORKER_STOP_SECONDS + last_drain
    assert pod["terminationGracePeriodSeconds"] > needed


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_worker_reads_the_outbox_that_its_api_process_writes(overlay: str) -> None:
    api, worker = container("api", overlay), container("worker", overlay)

    assert api["volumeMounts"] == worker["volumeMounts"]
    values = [
        {entry["name"]: entry.get("value") for entry in each["env"]} for each in (api, worker)
    ]
    mounted = {mount["mountPath"] for mount in api["volumeMounts"]}
    for name in ("PROMOBANDIT_DATA_DIR", "PROMOBANDIT_METRICS_DIR"):
        assert values[0][name] == values[1][name]
        assert values[0][name] in mounted
    assert api["image"] == worker["image"]


def test_the_autoscaler_looks_at_metrics_and_containers_that_exist() -> None:
    metrics = one("HorizontalPodAutoscaler")["spec"]["metrics"]
    catalogue = (ROOT / "docs" / "metrics.md").read_text()
    pods = [each["pods"]["metric"]["name"] for each in metrics if each["type"] == "Pods"]
    adapter = (MANIFESTS / "examples" / "prometheus-adapter.yaml").read_text()

    assert [
        each["containerResource"]["container"] for each in metrics if "containerResource" in each
    ]
    assert pods == ["promobandit_in_flight"]
    assert all(f"| `{name}` |" in catalogue for name in pods)
    assert all(f"as: {name}" in adapter for name in pods)


def test_the_prometheus_rule_holds_the_rules_that_promtool_tests() -> None:
    assert rule.RESOURCE.read_text() == rule.text(), "say: python -m tests.deploy"


def test_every_dashboard_becomes_a_config_map() -> None:
    folder = ROOT / "deploy" / "grafana" / "dashboards"
    there = {path.name: path.read_text() for path in folder.glob("*.json")}
    shipped: dict[str, str] = {}
    for each in rendered("production"):
        if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1":
            shipped |= each["data"]

    assert there
    assert shipped == there
