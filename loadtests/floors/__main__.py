"""Serve one floor: `python -m loadtests.floors choose|reward|fastapi|usual --port N`."""

from __future__ import annotations

import argparse

import uvicorn

from loadtests.floors.bare import AsgiApp, bare_app
from loadtests.floors.bodies import CHOOSE_ANSWER, REWARD_ANSWER
from loadtests.floors.empty_fastapi import empty_fastapi_app
from loadtests.floors.usual import usual_app

FLOORS = ("choose", "reward", "fastapi", "usual")


def main() -> None:
    """Serve until the process is told to end."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.floors")
    parser.add_argument("floor", choices=FLOORS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis", default="")
    options = parser.parse_args()
    # The service's own settings of uvicorn, so that only the application differs.
    uvicorn.run(
        _app(options.floor, options.redis),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        backlog=2_048,
        timeout_keep_alive=75,
        log_level="warning",
    )


def _app(floor: str, redis_url: str) -> AsgiApp:
    if floor == "usual":
        return usual_app(redis_url)
    if floor == "fastapi":
        return empty_fastapi_app()
    return bare_app(CHOOSE_ANSWER if floor == "choose" else REWARD_ANSWER)


if __name__ == "__main__":
    main()
