"""The empty FastAPI endpoint: a model in, a model out, and nothing between them."""

from __future__ import annotations

from fastapi import FastAPI

from loadtests.floors.bodies import CHOOSE_ANSWER, ChooseRequest, ChooseResponse


def empty_fastapi_app() -> FastAPI:
    """Return an application whose /choose does nothing but its types."""
    app = FastAPI()
    answer = ChooseResponse.model_validate_json(CHOOSE_ANSWER)

    @app.post("/choose")
    async def choose(request: ChooseRequest) -> ChooseResponse:
        return answer.model_copy(update={"experiment": request.experiment})

    return app
