"""The model repository over HTTP: what is in it, and, where that is enabled, loading and unloading."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from fastapi import APIRouter
from starlette.requests import Request  # at run time too: FastAPI resolves the handlers' annotations
from starlette.responses import JSONResponse

from service.api.body import read_body
from service.api.oip.documents import add, failures
from service.errors import BadRequest, Forbidden

if TYPE_CHECKING:
    from service.lifecycle import Lifecycle
    from service.settings import Settings

T = TypeVar("T", bound=msgspec.Struct)

_LARGEST_BODY = 1 << 16  # bytes; a request here is a word or two


class _IndexRequest(msgspec.Struct):
    ready: bool = False


class _ChangeRequest(msgspec.Struct):
    parameters: dict[str, msgspec.Raw] = {}


def router(settings: Settings, lifecycle: Lifecycle) -> APIRouter:
    """Return the routes of Triton's model repository extension."""
    router = APIRouter(tags=["open inference protocol"])

    async def index(request: Request) -> JSONResponse:
        asked = await _asked(request, _IndexRequest)
        states = await lifecycle.loader.states()
        return JSONResponse(
            [
                {"name": each.name, "version": str(each.version), "state": each.state, "reason": each.reason}
                for each in states
                if each.state == "READY" or not asked.ready
            ]
        )

    async def load(request: Request, name: str) -> JSONResponse:
        await _allow(settings, request)
        await lifecycle.loader.load(name)
        return JSONResponse({})

    async def unload(request: Request, name: str) -> JSONResponse:
        await _allow(settings, request)
        await lifecycle.loader.unload(name)
        return JSONResponse({})

    of_model = (400, 403, 404, 413, 422)
    for path, endpoint, summary, statuses in (
        ("/v2/repository/index", index, "What is in the model repository, and in which state", (400, 413)),
        ("/v2/repository/models/{name}/load", load, "Serve a model, or what is new of it", of_model),
        ("/v2/repository/models/{name}/unload", unload, "Serve a model no longer", of_model),
    ):
        name = f"v2_repository_{path.rpartition('/')[2]}"
        add(router, path, endpoint, name=name, summary=summary, responses=failures(*statuses), method="POST")
    return router


async def _allow(settings: Settings, request: Request) -> None:
    """Let a change pass where changes are enabled, which needs API keys: every request has shown a valid one by now."""
    asked = await _asked(request, _ChangeRequest)
    if not settings.model_admin or settings.api_keys_file is None:
        raise Forbidden("loading and unloading models is off: it takes --model-admin and an API key")
    # Triton could be given another configuration or files here. An artefact has its own; nothing depends on a model.
    if unknown := asked.parameters.keys() - {"unload_dependents"}:
        raise BadRequest(f"the parameter {min(unknown)[:64]!r} is not understood")


async def _asked(request: Request, kind: type[T]) -> T:
    body = await read_body(request, _LARGEST_BODY)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(f"the request is malformed: {error}") from error
