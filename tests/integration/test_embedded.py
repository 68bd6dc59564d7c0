"""The embedded server is real, private, restarts at the same place and ends with its parent."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import psutil
import pytest
import redis

from service.store.embedded import (
    DataDirInUseError,
    EmbeddedRedis,
    EmbeddedServerError,
    find_server,
    lock_data_dir,
)

pytestmark = pytest.mark.integration

CHILD = """
import sys, time
from pathlib import Path
from service.store.embedded import EmbeddedRedis, lock_data_dir
home = Path(sys.argv[1])
lock_data_dir(home)
server = EmbeddedRedis(home)
server.start()
print(server.url, flush=True)
time.sleep(60)
"""


@pytest.fixture
def home(server_directory: Path, request: pytest.FixtureRequest) -> Path:
    return server_directory / f"embedded-{abs(hash(request.node.name)) % 10**6}"


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(home)
    server.start()
    yield server
    server.stop()


def info(server: EmbeddedRedis) -> dict[str, object]:
    with redis.Redis.from_url(server.url) as client:
        found: dict[str, object] = client.info()
    return found


def wait_until(is_true: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.perf_counter() + seconds
    while not is_true() and time.perf_counter() < deadline:
        time.sleep(0.02)
    return is_true()


def test_it_answers_on_its_socket_and_nowhere_else(server: EmbeddedRedis) -> None:
    found = info(server)

    assert found["tcp_port"] == 0
    assert server.is_running()


def test_nobody_else_can_reach_its_socket(server: EmbeddedRedis, home: Path) -> None:
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700


def test_it_keeps_small_hashes_compact(server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(server.url) as client:
        for field in range(512):
            client.hset("bucket", field.to_bytes(8, "big"), bytes(20))
        encoding = client.object("ENCODING", "bucket")

    assert encoding in (b"ziplist", b"listpack")


def test_starting_twice_starts_one(server: EmbeddedRedis) -> None:
    before = info(server)["process_id"]
    server.start()

    assert info(server)["process_id"] == before


def test_it_starts_again_at_the_same_place_after_a_kill(server: EmbeddedRedis) -> None:
    url, pid = server.url, int(str(info(server)["process_id"]))
    os.kill(pid, signal.SIGKILL)
    is_gone = wait_until(lambda: not server.is_running())
    server.start()

    assert is_gone
    assert server.url == url
    assert info(server)["process_id"] != pid


def test_a_stopped_server_is_gone_and_leaves_no_socket(home: Path) -> None:
    server = EmbeddedRedis(home)
    server.start()
    pid = int(str(info(server)["process_id"]))
    server.stop()

    assert not server.is_running()
    assert not psutil.pid_exists(pid)
    assert not server.socket.exists()


def test_a_server_that_does_not_listen_is_killed(home: Path) -> None:
    server = EmbeddedRedis(home)
    server.start()
    pid = int(str(info(server)["process_id"]))
    os.kill(pid, signal.SIGSTOP)
    server.stop()

    assert not psutil.pid_exists(pid)


def test_it_outlives_the_thread_that_started_it(home: Path) -> None:
    server = EmbeddedRedis(home)
    thread = Thread(target=server.start)
    thread.start()
    thread.join()
    time.sleep(0.2)
    is_running = server.is_running()
    server.stop()

    assert is_running


def test_a_directory_too_deep_for_a_socket_gets_one_elsewhere(home: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    server = EmbeddedRedis(deep)
    server.start()
    found = info(server)
    mode = stat.S_IMODE(server.socket.parent.stat().st_mode)
    server.stop()

    assert found["tcp_port"] == 0
    assert mode == 0o700
    assert not server.socket.parent.exists()


def test_a_directory_with_spaces_and_signs_works(home: Path) -> None:
    server = EmbeddedRedis(home / "a b%20?#")
    server.start()
    found = info(server)
    server.stop()

    assert found["tcp_port"] == 0


def test_killing_the_parent_ends_it_and_frees_the_directory(home: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        with redis.Redis.from_url(url) as client:
            pid = int(client.info("server")["process_id"])
        with pytest.raises(DataDirInUseError, match=f"in use by process {parent.pid};"):
            lock_data_dir(home)
        parent.kill()

    is_gone = wait_until(lambda: not psutil.pid_exists(pid))
    os.close(lock_data_dir(home))

    assert is_gone


def test_without_any_program_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EmbeddedServerError, match="valkey-server or redis-server"):
        find_server(wheel="no_such_wheel")


def test_a_program_on_the_path_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_server() == program


def test_a_program_that_ends_at_once_is_an_error_with_its_last_words(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\necho no such option\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EmbeddedServerError, match="no such option"):
        EmbeddedRedis(home).start()
