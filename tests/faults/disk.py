"""A small disk that can be filled: a tmpfs in a mount namespace of its own."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BALLAST = "ballast"
REFILL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a few MB that only processes started `within` it see at `path`."""

    path: Path
    holder: subprocess.Popen[bytes]
    bytes_max: int

    @property
    def within(self) -> list[str]:
        """The command that starts a process where the disk is mounted."""
        there = f"/proc/{self.holder.pid}/ns"
        if os.geteuid() == 0:
            return ["nsenter", f"--mount={there}/mnt", "--"]
        entering = [f"--user={there}/user", "--preserve-credentials", f"--mount={there}/mnt"]
        return ["nsenter", *entering, "--"]

    @property
    def outside(self) -> Path:
        """The disk as this process sees it."""
        return Path(f"/proc/{self.holder.pid}/root{self.path}")

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.outside / BALLAST).open("ab", buffering=0) as ballast, suppress(OSError):
            for size in (1 << 16, 1 << 12, 1):
                with suppress(OSError):
                    while True:
                        ballast.write(bytes(size))

    @contextmanager
    def kept_full(self) -> Iterator[None]:
        """Leave no byte free until the block ends, whatever others delete meanwhile."""
        over = threading.Event()

        def refill() -> None:
            while not over.wait(REFILL_SECONDS):
                self.fill()

        self.fill()
        thread = threading.Thread(target=refill, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.free()

    def free(self) -> None:
        """Give the space back."""
        (self.outside / BALLAST).unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, bytes_max: int) -> Iterator[Disk]:
    """Mount a small disk in a mount namespace that ends with the block.

    It takes root, or a kernel that lets users have namespaces of their own.
    """
    path.mkdir()
    script = f"mount -t tmpfs -o size={bytes_max} tmpfs '{path}' && echo mounted && exec sleep 1d"
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    holder = subprocess.Popen(
        ["unshare", *as_root, "--mount", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert holder.stdout is not None
    try:
        said = holder.stdout.readline()
        if said != b"mounted\n":
            raise RuntimeError(f"no small disk could be mounted, it takes root: {said.decode()}")
        yield Disk(path, holder, bytes_max)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
