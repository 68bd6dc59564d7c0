"""Files, functions and argument lists stay small enough to read at once."""

from __future__ import annotations

import ast

from tests.architecture.sources import FunctionNode, functions, place, python_files

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 50  # Without the docstring: prose is not to be saved.
ARGUMENTS_MAX = 6  # Without self or cls.


def lines_of(function: FunctionNode) -> int:
    first = function.body[0]
    has_docstring = ast.get_docstring(function, clean=False) is not None
    prose = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - prose


def arguments_of(function: FunctionNode) -> int:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args]
    bound = bool(named) and named[0].arg in ("self", "cls")
    return len(named) + len(arguments.kwonlyargs) - bound


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {place(path): len(path.read_text().splitlines()) for path in python_files()}

    assert {name: n for name, n in lengths.items() if n > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_50_lines() -> None:
    lengths = {
        f"{place(path, function.lineno)} {function.name}": lines_of(function)
        for path in python_files()
        for function in functions(path)
    }

    assert {name: n for name, n in lengths.items() if n > FUNCTION_LINES_MAX} == {}


def test_no_function_takes_more_than_6_arguments() -> None:
    counts = {
        f"{place(path, function.lineno)} {function.name}": arguments_of(function)
        for path in python_files()
        for function in functions(path)
    }

    assert {name: n for name, n in counts.items() if n > ARGUMENTS_MAX} == {}
