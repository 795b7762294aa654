"""The web application: a page for people, `POST /predict` for programs. In, a model; out, an application for any ASGI server."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from fer.config import ServeConfig
from fer.errors import FerError
from fer.use.crops import read_picture
from fer.use.predictor import Predictor
from fer.use.serving.guard import Guard
from fer.use.serving.heat_layers import HeatLayers, open_heat, read_box
from fer.use.serving.known_limits import read_card
from fer.use.serving.replies import HeatReply, ModelReply, Prediction, Problem, about_model, prediction
from fer.use.serving.turns import Refused, Turns
from fer.use.serving.uploads import BODIES, read_upload
from fer.version import __version__

PAGE = Path(__file__).parent / "page"
FILES = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js", "/docs": "docs.html", "/docs.js": "docs.js"}
"""Everything that a browser may fetch from `PAGE`."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "No picture, or one that can't be read"},
    403: {
        "model": Problem,
        "description": "Asked by a page of another site, or under a name that is not this server's",
    },
    413: {"model": Problem, "description": "More bytes than the limit"},
    503: {"model": Problem, "description": "Too many requests at once, or this one took too long: try again"},
}

HEAT_PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "This model can't be explained"},
    422: {"model": Problem, "description": "No label in the address"},
}


def build_app(predictor: Predictor, cfg: ServeConfig) -> ASGIApp:
    """The application.

    Args:
        predictor: is asked by one thread, for one picture at a time.
        cfg: limits, the name of the host, and where a model card may lie.
    """
    app = FastAPI(
        title="fer",
        version=__version__,
        summary="Action units and emotion of every face in a picture",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere; /docs here does not
        redoc_url=None,
    )
    _answer_in_json(app)
    _add_pages(app)
    card = read_card(cfg.checkpoint or "")
    heat = open_heat(predictor)
    no_heat = heat if isinstance(heat, str) else None
    _add_model(app, about_model(predictor.facts, card, cfg.max_mb, no_heat), card)
    _add_questions(app, predictor, heat, cfg)
    return Guard(app, cfg.host)


def _add_questions(app: FastAPI, predictor: Predictor, heat: HeatLayers | str, cfg: ServeConfig) -> None:
    turns, limit = Turns(cfg.max_waiting, cfg.timeout), round(cfg.max_mb * 1_000_000)

    def look(picture: bytes) -> Prediction:
        pixels = read_picture(picture)
        return prediction(predictor.facts, pixels.shape[:2], predictor.predict(pixels))

    @app.post("/predict", responses=PROBLEMS, openapi_extra=BODIES)
    async def predict(request: Request) -> Prediction:
        """What the model says of every face in a picture, the largest face first; where none is found, of the whole picture.

        The picture is the body of the request, or the only file of a form. It is looked at in memory and never written to disk.
        """
        async with turns.turn():
            picture = await read_upload(request, limit)
            return await turns.work(look, picture)

    @app.post("/heat", responses=PROBLEMS | HEAT_PROBLEMS, openapi_extra=BODIES)
    async def heat_map(
        request: Request,
        label: Annotated[str, Query(description="AU12 or an emotion, as the model names it")],
        box: Annotated[
            str | None, Query(description="the face, as x,y,w,h in pixels of the upright picture; else the largest")
        ] = None,
    ) -> HeatReply:
        """Where the network looked for a label in a face (Grad-CAM): what raised its score, not that the answer is right.

        The picture is sent as to /predict.
        """
        async with turns.turn():
            picture = await read_upload(request, limit)
            if isinstance(heat, str):
                raise HTTPException(404, heat)
            return await turns.work(partial(heat.answer, label, read_box(box)), picture)


def _add_model(app: FastAPI, about: ModelReply, card: str | None) -> None:
    @app.get("/model")
    def model() -> ModelReply:
        """What the model can say, from which probability an action unit counts as active, and the model's known limits."""
        return about

    @app.get("/model-card", response_class=PlainTextResponse, responses={404: {"model": Problem}})
    def model_card() -> str:
        """The model card of the run folder, in Markdown."""
        if card is None:
            raise HTTPException(404, "no MODEL_CARD.md lies in the run folder of this model")
        return card


def _add_pages(app: FastAPI) -> None:
    def add(path: str, name: str) -> None:
        def page() -> Response:
            return FileResponse(PAGE / name)

        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)

    for path, name in FILES.items():
        add(path, name)


def _answer_in_json(app: FastAPI) -> None:
    """Every refusal is `{"error": "..."}`."""

    @app.exception_handler(HTTPException)
    async def known(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def incomplete(request: Request, error: RequestValidationError) -> Response:
        wrong = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return JSONResponse({"error": wrong.lower()}, 422)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return JSONResponse({"error": str(error)}, error.status, {"Retry-After": "1"} if error.status == 503 else None)

    @app.exception_handler(FerError)
    async def unreadable(request: Request, error: FerError) -> Response:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(Exception)  # a bug: its traceback goes to the terminal, not to the browser
    async def bug(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "an error in the server: its terminal says more"}, 500)
