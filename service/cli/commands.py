"""The commands, what they take, and how errors are told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from service import logs, supervisor
from service.cli import keys, ledger, processes, sla
from service.errors import ServiceError
from service.settings import Settings

DESCRIPTION = "Picks which promotion e-mail variant each recipient gets."
PORT_MAX = 65_535


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    if options.parent:
        supervisor.die_with(options.parent)
    given = {} if options.data_dir is None else {"data_dir": options.data_dir}
    try:
        settings = Settings(**given)
        logs.configure(options.command, pretty=settings.is_pretty, level=settings.log_level)
        code: int = options.run(options, settings)
    except (ServiceError, LookupError, OSError, RuntimeError, ValueError) as error:
        print(f"promobandit {options.command}: {error}", file=sys.stderr)
        return int(getattr(options, "error_code", 1))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="promobandit", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=version("promobandit"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data-dir", type=Path, help="where the data is (PROMOBANDIT_DATA_DIR)")
    common.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    common.add_argument("--migrate", action="store_true", help=argparse.SUPPRESS)
    listening = argparse.ArgumentParser(add_help=False)
    listening.add_argument("--host", default="127.0.0.1", help="address to listen on")
    listening.add_argument("--port", type=_port, default=8000, help="port to listen on")

    def command(
        name: str, run: object, text: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[common, *parents])
        sub.set_defaults(run=run)
        return sub

    serve = command("serve", processes.serve, "run the whole service on this machine", listening)
    serve.add_argument("--workers", type=int, default=1, help="number of API processes")
    api = command("api", processes.api, "run one API process (needs REDIS_URL)", listening)
    api.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    api.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    api.add_argument("--exposed", action="store_true", help=argparse.SUPPRESS)
    worker = command("worker", processes.worker, "run the worker (needs REDIS_URL)")
    worker.add_argument("--nice", action="store_true", help="leave the processor to others first")
    command("migrate", ledger.migrate, "bring the database's schema up to date")
    command("audit", ledger.audit, "recount the evidence; exit code 1 if anything differs")
    command("rotate-signing-key", ledger.rotate, "add a signing key, in use 5 minutes from now")
    keys.add_commands(commands, common)
    sla.add_commands(commands, common)
    return parser


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= PORT_MAX:  # The system would take it modulo 65,536.
        raise argparse.ArgumentTypeError(f"a port is from 0 to {PORT_MAX}")
    return number
