"""`POST /classify` and `POST /classify/batch`: images in, their most probable classes out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from starlette.requests import Request  # at run time too: FastAPI resolves the handlers' annotations

from service.api.body import EncodedImage, EncodedImages, read_image, read_images
from service.api.direct import JsonAnswer
from service.api.disconnect import WhileConnected
from service.api.form import quieten_parser
from service.api.problems import problem
from service.api.schemas import REQUEST_ID, Classification, Classifications, problem_responses
from service.api.terms import PARAMETERS, terms_of
from service.errors import ServiceError, Unprocessable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from service.api.form import File
    from service.lifecycle import Lifecycle
    from service.model import Model, Timing
    from service.settings import Settings

DEFAULT_TOP_K = 5
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_HEADERS = REQUEST_ID | {
    "Server-Timing": {
        "description": "Milliseconds of decode, queue and inference (W3C Server Timing).",
        "required": True,
        "schema": {"type": "string"},
    }
}
_PARAMETERS = [
    *PARAMETERS,
    {
        "name": "top_k",
        "in": "query",
        "description": "How many classes to answer, most probable first.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": DEFAULT_TOP_K},
    },
    {
        "name": "model",
        "in": "query",
        "description": "Which model; by default the first that the service was started with.",
        "schema": {"type": "string"},
    },
    {
        "name": "version",
        "in": "query",
        "description": "Which version of it; by default the one that leads: the highest, unless it was pinned.",
        "schema": {"type": "string"},
    },
]


def routes(settings: Settings, lifecycle: Lifecycle) -> list[APIRoute]:
    """Return the two routes; they answer with whatever model `lifecycle` has."""
    quieten_parser()
    endpoints = _Endpoints(settings, lifecycle)
    return [
        APIRoute(
            "/classify",
            endpoints.classify,
            methods=["POST"],
            summary="Classify an image",
            description="The body is the image: JPEG, PNG, WebP, GIF (first frame), BMP or TIFF. Multipart with one "
            "file and JSON with base64 are understood too. `Server-Timing` says where the time went.",
            tags=["classify"],
            responses={
                200: {"model": Classification, "headers": _HEADERS},
                **problem_responses(400, 404, 413, 415, 422, 429, 500, 503, 504),
            },
            openapi_extra={"parameters": _PARAMETERS, "requestBody": _one_image()},
        ),
        APIRoute(
            "/classify/batch",
            endpoints.classify_batch,
            methods=["POST"],
            summary="Classify several images",
            description="Each image is answered by its predictions or by its own problem, in the order sent.",
            tags=["classify"],
            responses={
                200: {"model": Classifications, "headers": _HEADERS},
                **problem_responses(400, 404, 413, 422, 429, 500, 503, 504),
            },
            openapi_extra={"parameters": _PARAMETERS, "requestBody": _several_images(settings)},
        ),
    ]


class _Endpoints:
    def __init__(self, settings: Settings, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._timeout_s = settings.request_timeout_ms / 1000
        self._max_body_bytes = settings.max_body_bytes
        self._max_images = settings.max_images_per_request

    async def classify(self, request: Request) -> JsonAnswer:
        deadline_s, priority = terms_of(request.scope, self._timeout_s)
        asked = asked_for(request)
        model = meet(request, self._lifecycle.find(*asked))
        _top_k(request, model)
        probe(model, deadline_s)
        with WhileConnected(request.scope, deadline_s) as client:
            body = await read_image(request, self._max_body_bytes)
            client.sent_all()
            # Another, if it was swapped while the body arrived.
            model = meet(request, self._lifecycle.registry.find(*asked))
            top_k = _top_k(request, model)
            row, timing = await model.classify(body, deadline_s=deadline_s, priority=priority)
        request.scope["visit"].predicted(timing)
        names = model.predictions
        document = f'{{"model": {names.model_json}, "predictions": {names.to_json(row, top_k)}}}'
        return JsonAnswer(document, timed(timing))

    async def classify_batch(self, request: Request) -> JsonAnswer:
        deadline_s, priority = terms_of(request.scope, self._timeout_s)
        asked = asked_for(request)
        model = meet(request, self._lifecycle.find(*asked))
        _top_k(request, model)
        probe(model, deadline_s)
        with WhileConnected(request.scope, deadline_s) as client:
            files = await read_images(request, self._max_body_bytes, self._max_images)
            client.sent_all()
            model = meet(request, self._lifecycle.registry.find(*asked))
            top_k = _top_k(request, model)
            bodies = [file.body for file in files]
            results, timing = await model.classify_many(bodies, deadline_s=deadline_s, priority=priority)
        request.scope["visit"].predicted(timing)
        items = [_result(model, *pair, top_k) for pair in zip(files, results, strict=True)]
        document = f'{{"model": {model.predictions.model_json}, "results": [{", ".join(items)}]}}'
        return JsonAnswer(document, timed(timing))


def asked_for(request: Request) -> tuple[str | None, str | None]:
    """Return the name and the version of the model that a request asks for, each None for any."""
    if not request.scope["query_string"]:
        return None, None
    query = request.query_params
    return query.get("model"), query.get("version")


def meet(request: Request, model: Model) -> Model:
    """Note that `model` is the one that a request is for, and return it."""
    request.scope["visit"].model = model.counts
    return model


def probe(model: Model, deadline_s: float) -> None:
    """Refuse now what would be refused anyway once its body has been read, which would be work for nothing."""
    with model.backend.reserve(1, deadline_s=deadline_s):
        pass


def _top_k(request: Request, model: Model) -> int:
    classes = model.predictions.classes
    text = request.query_params.get("top_k") if request.scope["query_string"] else None
    if text is None:
        return min(DEFAULT_TOP_K, classes)
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= classes):
        raise Unprocessable(f"top_k must be a whole number from 1 to {classes}")
    return int(text)


def _result(model: Model, file: File, result: NDArray[np.float32] | ServiceError, top_k: int) -> str:
    filename = json.dumps(file.name, ensure_ascii=False)
    if isinstance(result, ServiceError):
        trouble = json.dumps(problem(result.status, result.title, result.detail), ensure_ascii=False)
        return f'{{"filename": {filename}, "problem": {trouble}}}'
    return f'{{"filename": {filename}, "predictions": {model.predictions.to_json(result, top_k)}}}'


def timed(timing: Timing) -> str:
    """Return what the header Server-Timing says of where a request's time went (W3C): milliseconds."""
    return (
        f"decode;dur={timing.decode_s * 1e3:.2f}, queue;dur={timing.queue_s * 1e3:.2f}, "
        f"inference;dur={timing.inference_s * 1e3:.2f}"
    )


def _one_image() -> dict[str, Any]:
    form = {"type": "object", "required": ["image"], "properties": {"image": _BINARY["schema"]}}
    return {
        "required": True,
        "content": {
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": EncodedImage.model_json_schema()},
        },
    }


def _several_images(settings: Settings) -> dict[str, Any]:
    number = {"minItems": 1, "maxItems": settings.max_images_per_request}
    files = {"type": "array", "items": _BINARY["schema"], **number}
    form = {"type": "object", "required": ["images"], "properties": {"images": files}}
    document = EncodedImages.model_json_schema()
    document["properties"]["images"] |= number
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": document},
        },
    }
