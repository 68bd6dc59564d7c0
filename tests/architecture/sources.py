"""What the architecture tests read: our own files, as text and as syntax trees."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON_FOLDERS = ("service", "loadtests", "tests")
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def committed_files() -> list[Path]:
    """List every file that git knows and that is still there."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    paths = (ROOT / name for name in names.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def python_files(*folders: str) -> list[Path]:
    """List the Python files of some folders, all of ours by default."""
    return [path for name in folders or PYTHON_FOLDERS for path in (ROOT / name).rglob("*.py")]


@cache
def nodes(path: Path) -> Sequence[ast.AST]:
    """Return the syntax tree of a file, flat; it is parsed once for all tests."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def functions(path: Path) -> Iterator[FunctionNode]:
    """Walk the functions and methods of a file."""
    return (node for node in nodes(path) if isinstance(node, FunctionNode))


def place(path: Path, line: int | None = None) -> str:
    """Name a place in a file the way editors understand it."""
    name = str(path.relative_to(ROOT))
    return name if line is None else f"{name}:{line}"
