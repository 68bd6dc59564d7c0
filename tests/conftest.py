"""Fixtures that start real servers, and the rule for tests that need a program of the system."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import Cluster
from tests.clusters import redis_cluster as running_cluster
from tests.servers import postgres_database, postgres_server, redis_server

# What to install, by the program that a test asks for with @pytest.mark.requires_tool("wrk").
PACKAGE_OF_TOOL = {
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "curl": "curl",
    "kubectl": "kubernetes-client",
    "pgbouncer": "pgbouncer",
    "promtool": "prometheus",
    "wrk": "wrk",
}
INSTALL_COMMAND = "sudo apt-get install " + " ".join(sorted(PACKAGE_OF_TOOL.values()))
TOOLS_ARE_REQUIRED = os.environ.get("PROMOBANDIT_REQUIRE_TOOLS", "") not in ("", "0")
MISSING_TOOL = "needs a missing program: "


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep whole services in one process: each that runs a part of a file would start them anew."""
    if item.get_closest_marker("e2e") and not item.get_closest_marker("xdist_group"):
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_collection_finish() -> None:
    """Look through what was imported and collected no more.

    That takes so long at the end of a suite that callers in the same process are answered late.
    """
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose program is missing; in CI, which installs them all, fail it."""
    for marker in item.iter_markers("requires_tool"):
        (tool,) = marker.args
        package = PACKAGE_OF_TOOL[tool]
        if shutil.which(tool) is None and TOOLS_ARE_REQUIRED:
            pytest.fail(f"{MISSING_TOOL}{tool} (package {package})", pytrace=False)
        if shutil.which(tool) is None:
            pytest.skip(f"{MISSING_TOOL}{tool} (package {package})")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End a run that skipped for missing programs with the command that installs them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # A worker of pytest-xdist: its controller reports.
        return
    skipped = [r for r in reporter.stats.get("skipped", []) if MISSING_TOOL in str(r.longrepr)]
    if skipped:
        reporter.write_line(f"{len(skipped)} skipped for missing programs: {INSTALL_COMMAND}")


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """Give a directory whose name is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="pb-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def redis_url(server_directory: Path) -> Iterator[str]:
    """Run a Redis 6.2 server for the session; a test that needs it empty flushes it."""
    with redis_server("redis", server_directory) as url:
        yield url


@pytest.fixture(scope="session")
def valkey_url(server_directory: Path) -> Iterator[str]:
    """Run a Valkey 9 server for the session; a test that needs it empty flushes it."""
    with redis_server("valkey", server_directory) as url:
        yield url


@pytest.fixture(scope="session")
def redis_cluster(server_directory: Path) -> Iterator[Cluster]:
    """Run a Redis 6.2 cluster of three primaries and a replica for the session.

    Its tests are of the xdist group "cluster", so that one process starts it.
    """
    with running_cluster(server_directory / "c-redis", "redis", replicas=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def valkey_cluster(server_directory: Path) -> Iterator[Cluster]:
    """Run a Valkey 9 cluster, like the one of Redis."""
    with running_cluster(server_directory / "c-valkey", "valkey", replicas=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres_url(server_directory: Path) -> Iterator[str]:
    """Run a PostgreSQL 18 server for the session."""
    with postgres_server(server_directory) as url:
        yield url


@pytest.fixture
def fresh_postgres_url(postgres_url: str) -> Iterator[str]:
    """Give an empty database of its own to one test."""
    with postgres_database(postgres_url, f"test_{uuid.uuid4().hex}") as url:
        yield url
