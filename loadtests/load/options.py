"""What a load test is told on the command line; the API key comes from the environment."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

from loadtests.load.locust_words import KEY_VARIABLE
from loadtests.load.shapes import SHAPES, Shape
from loadtests.load.target import Stores


@dataclass(frozen=True, slots=True)
class Options:
    """A run as it was asked for."""

    shape: Shape
    seconds: float
    url: str
    key: str
    workers: int
    stores: Stores
    is_documented: bool
    is_ceiling_wanted: bool = False


def options_of(arguments: list[str] | None = None) -> Options:
    """Read the command line."""
    read = _parser().parse_args(arguments)
    shape = SHAPES[read.shape]
    return Options(
        shape,
        read.seconds or shape.seconds,
        read.url,
        os.environ.get(KEY_VARIABLE, ""),
        read.workers,
        Stores(read.redis, read.database),
        read.write_docs,
        read.ceiling,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.load",
        description="Load the service and say whether it kept its promises.",
        epilog=f"{KEY_VARIABLE} is the API key for --url: scopes choose, reward, report, admin.",
    )
    shapes = "; ".join(f"{shape.name}: {shape.text}" for shape in SHAPES.values())
    parser.add_argument("--shape", choices=SHAPES, default="average", help=shapes)
    parser.add_argument("--seconds", type=float, help="how long (the shape's own time)")
    parser.add_argument("--url", default="", help="load a service that runs there")
    parser.add_argument("--workers", type=int, default=2, help="API processes of our own (2)")
    parser.add_argument("--redis", default="", help="redis, or a URL (what serve brings along)")
    parser.add_argument("--database", default="", help="postgres, or a URL (SQLite)")
    parser.add_argument(
        "--ceiling",
        action="store_true",
        help="afterwards, ask more and more until a promise breaks",
    )
    parser.add_argument("--write-docs", action="store_true", help="write docs/capacity.md anew")
    return parser
