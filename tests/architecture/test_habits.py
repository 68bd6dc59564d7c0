"""Habits that no linter knows: no patching, true test names, one status for every error."""

from __future__ import annotations

import ast
from pathlib import Path

from service.api.errors import STATUS_OF
from service.errors import ServiceError
from tests.architecture.sources import functions, nodes, place, python_files

WORDS_IN_A_NAME_MIN = 4  # "test_" and at least a subject, a verb and what it does


def patches(path: Path) -> list[str]:
    """Find the places that replace code of others for a test (environment and folder may be)."""
    return [
        place(path, node.lineno)
        for node in nodes(path)
        if (isinstance(node, ast.Attribute) and node.attr in ("setattr", "delattr", "setitem"))
        or (isinstance(node, ast.arg) and node.arg == "mocker")
        or (isinstance(node, ast.ImportFrom) and node.module == "unittest")
        or (isinstance(node, ast.ImportFrom | ast.Import) and "mock" in ast.unparse(node))
    ]


def all_subclasses(base: type[ServiceError]) -> set[type[ServiceError]]:
    children = set(base.__subclasses__())
    return children.union(*(all_subclasses(child) for child in children))


def test_no_test_patches_code() -> None:
    assert [found for path in python_files("tests", "loadtests") for found in patches(path)] == []


def test_every_test_is_named_by_a_sentence() -> None:
    names = {
        f"{place(path, function.lineno)} {function.name}"
        for path in python_files("tests")
        for function in functions(path)
        if function.name.startswith("test_") and len(function.name.split("_")) < WORDS_IN_A_NAME_MIN
    }

    assert names == set()


def test_every_service_error_has_one_http_status() -> None:
    without = all_subclasses(ServiceError) - set(STATUS_OF)

    assert {error.__name__ for error in without} == set()
