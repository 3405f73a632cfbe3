"""The models that are served: their contract, certificate, and whether they come out right on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.responses import Response

from service.api.schemas import GoldenStatus, ModelDetails, problem_responses

if TYPE_CHECKING:
    from service.lifecycle import Lifecycle
    from service.model import Model


def router(lifecycle: Lifecycle) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["models"])

    async def model(name: str, version: str | None = None) -> Response:
        details = _described(lifecycle.known(name, version))
        return Response(details.model_dump_json(exclude={"contract": {"certificate"}}), media_type="application/json")

    router.add_api_route(
        "/models/{name}",
        model,
        name="model",
        operation_id="model",
        summary="What a model promises, how that was verified, and whether it holds on this machine",
        response_model=ModelDetails,
        responses=problem_responses(404, 503),
    )
    return router


def _described(model: Model) -> ModelDetails:
    result = model.golden
    status: GoldenStatus = "absent" if not result.answers else "right" if result.fault is None else "wrong"
    return ModelDetails.model_validate(
        {
            "name": model.name,
            "version": str(model.version),
            "provider": model.provider,
            "golden": {"status": status, "fault": result.fault, "answers": result.answers},
            "certificate": model.contract.certificate,
            "contract": model.contract,
        }
    )
