"""`POST /v2/models/{name}[/versions/{version}]/infer`: tensors in, probabilities or classes out."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np
from fastapi.routing import APIRoute
from starlette.requests import Request  # at run time too: FastAPI resolves the handler's annotations
from starlette.responses import Response

from service.api.body import read_body
from service.api.classify import meet, probe, timed
from service.api.disconnect import WhileConnected
from service.api.oip import answer, coding
from service.api.oip.documents import failures, inference_request, inference_response, path_parameters
from service.api.oip.request import HEADER_LENGTH, header_end, parse
from service.api.terms import PARAMETERS as TERMS
from service.api.terms import terms_of
from service.errors import ServiceError, Unavailable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.api.oip.request import Inference
    from service.lifecycle import Lifecycle
    from service.model import Model, Timing
    from service.settings import Settings

_SHORT = 1 << 16  # bytes of JSON that are parsed in less than a millisecond; more are parsed on a thread


def routes(settings: Settings, lifecycle: Lifecycle) -> list[APIRoute]:
    """Return the route for a model, and for one of its versions."""
    infer = _Infer(settings, lifecycle)
    return [
        APIRoute(
            path,
            infer.answer,
            methods=["POST"],
            name=name,
            operation_id=name,
            tags=["open inference protocol"],
            summary=summary,
            description="The tensor `image`, UINT8 [N, crop, crop, 3], or `encoded_image`, BYTES [N] (base64 in JSON), "
            "as JSON or binary data, identity, gzip or deflate. Parameters: `timeout` (microseconds), `priority`, "
            "`binary_data_output`, and of the output `binary_data` and `classification`.",
            responses={200: inference_response(), **failures(400, 404, 413, 415, 422, 429, 500, 503, 504)},
            openapi_extra={
                "parameters": [*path_parameters(path), *TERMS],
                "requestBody": inference_request(),
            },
        )
        for path, name, summary in (
            ("/v2/models/{name}/infer", "v2_infer", "Ask a model"),
            ("/v2/models/{name}/versions/{version}/infer", "v2_infer_version", "Ask one version of a model"),
        )
    ]


class _Infer:
    def __init__(self, settings: Settings, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._timeout_s = settings.request_timeout_ms / 1000
        self._max_body_bytes = settings.max_body_bytes
        self._max_images = settings.max_images_per_request

    async def answer(self, request: Request) -> Response:
        arrived_s = time.monotonic()
        deadline_s, priority = terms_of(request.scope, self._timeout_s)
        asked = request.path_params["name"], request.path_params.get("version")
        probe(meet(request, self._lifecycle.find(*asked)), deadline_s)
        with WhileConnected(request.scope, deadline_s) as client:
            body = await read_body(request, self._max_body_bytes)
            client.sent_all()
            body = await coding.decoded(request, body, self._max_body_bytes)
            model, wanted = await self._parsed(asked, body, request.headers.get(HEADER_LENGTH))
            answer.check_classes(model, wanted.form)
            # The protocol's own parameters beside our headers: the sooner deadline, and the priority if it gives one.
            deadline_s = min(deadline_s, arrived_s + wanted.timeout_s)
            meet(request, model)
            rows, timing = await _run(model, wanted, deadline_s, wanted.priority or priority)
        request.scope["visit"].predicted(timing)
        body, headers = answer.response(model, wanted.id, rows, wanted.form)
        body, more = await coding.encoded(request, body)
        return Response(body, headers=headers | more | {"Server-Timing": timed(timing)})

    async def _parsed(
        self, asked: tuple[str, str | None], body: bytes, header_length: str | None
    ) -> tuple[Model, Inference]:
        registry = self._lifecycle.registry
        at = header_end(header_length, len(body))
        crop = registry.find(*asked).contract.preprocessing.crop
        if at <= _SHORT:
            return registry.find(*asked), parse(body, at, crop, self._max_images)
        wanted = await asyncio.to_thread(parse, body, at, crop, self._max_images)
        model = registry.find(*asked)  # another, if it was swapped meanwhile
        if model.contract.preprocessing.crop != crop:
            raise Unavailable("the model was just replaced by one for images of another size", retry_after_s=0)
        return model, wanted


async def _run(model: Model, wanted: Inference, deadline_s: float, priority: int) -> tuple[NDArray[np.float32], Timing]:
    if wanted.pixels is not None:
        return await model.infer(list(wanted.pixels), deadline_s=deadline_s, priority=priority)
    results, timing = await model.classify_many(wanted.files, deadline_s=deadline_s, priority=priority)
    for index, result in enumerate(results):
        if isinstance(result, ServiceError):
            raise type(result)(f"encoded_image[{index}]: {result.detail}")
    return np.stack(results), timing  # type: ignore[arg-type]  # none of them is an error
