"""The command line: one service, its parts, and what operators do by hand."""

from service.cli.commands import main

__all__ = ["main"]
