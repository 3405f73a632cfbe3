"""Health: `/livez` (a new process would not help), `/readyz` and `/healthz` (a request would be answered)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from service.api.schemas import Health
from service.errors import Unavailable
from service.lifecycle import Phase

if TYPE_CHECKING:
    from service.lifecycle import Lifecycle


def router(lifecycle: Lifecycle) -> APIRouter:
    """Return the three routes."""
    router = APIRouter(tags=["health"])

    async def health() -> JSONResponse:
        return _report(lifecycle)

    async def alive() -> JSONResponse:
        if lifecycle.lost:
            return JSONResponse({"status": "lost"}, 503, {"Cache-Control": "no-store"})
        return JSONResponse({"status": "alive"})

    not_ready: dict[int | str, dict[str, Any]] = {
        503: {"model": Health, "description": "A request would not be answered now."}
    }
    for path, summary in (
        ("/healthz", "Whether a request would be answered, and by what"),
        ("/readyz", "Readiness: the same answer as /healthz"),
    ):
        router.add_api_route(
            path,
            health,
            name=path.strip("/"),
            operation_id=path.strip("/"),
            summary=summary,
            response_model=None,
            responses={200: {"model": Health}, **not_ready},
        )
    router.add_api_route(
        "/livez",
        alive,
        summary="Liveness: the process runs, and its engine can",
        response_model=None,
        responses={503: {"description": "Only a new process helps: the engine hangs, or fails whatever it is given."}},
    )
    return router


def _report(lifecycle: Lifecycle) -> JSONResponse:
    status = lifecycle.status
    report: dict[str, Any] = {"status": status, "uptime_s": round(lifecycle.uptime_s, 3), "queue_depth": 0}
    try:
        model = lifecycle.model
        report |= {"model": model.predictions.model, "provider": model.provider, "queue_depth": model.backend.depth}
    except Unavailable as error:
        report["reason"] = error.detail
    if status is Phase.READY:
        return JSONResponse(report, 200, {"Cache-Control": "no-store"})
    return JSONResponse(report, 503, {"Retry-After": "1", "Cache-Control": "no-store"})
