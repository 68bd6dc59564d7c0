"""Threads of a process that serves share one heap of the C library."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the GNU C library")

# Each thread keeps blocks that are too large for Python's own allocator; then the C library lists
# its heaps.
PROGRAM = """
import ctypes, threading
from service.cli.heaps import keep_one_heap

if {is_asked}:
    keep_one_heap()
all_have = threading.Barrier(8)

def allocate():
    kept = [bytes(2_000) for _ in range(100)]
    all_have.wait()
    del kept

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.parametrize("is_asked", [True, False])
def test_threads_have_heaps_of_their_own_until_asked_to_share(is_asked: bool) -> None:
    command = [sys.executable, "-c", PROGRAM.format(is_asked=is_asked)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    heaps = told.count("<heap nr=")
    assert heaps == 1 if is_asked else heaps > 1
