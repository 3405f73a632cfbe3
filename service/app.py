"""The application: everything is assembled here and nowhere else. Nothing happens at import."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from service import local
from service.api import access, classify, exposition, health, models, page, problems
from service.api.direct import FrontDoor
from service.api.oip import about, administration, infer, statistics
from service.api.pages import PageHeaders
from service.api.reception import Reception
from service.api.request_id import RequestIdMiddleware
from service.keys import Keys
from service.lifecycle import Lifecycle
from service.loader import Loader
from service.metrics import Metrics
from service.registry import Registry
from service.repository import Artefact, Wanted, wanted
from service.tracing import tracer_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from service.engine import Engine
    from service.model import Model
    from service.settings import Settings

_DESCRIPTION = """Classifies images with a trained residual network (He et al. 2015).

Every failure is an RFC 9457 `application/problem+json` document; every answer carries `X-Request-ID`."""


def create_app(
    settings: Settings,
    engine: Engine | None = None,
    *,
    lifecycle: Lifecycle | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """Assemble the service.

    Args:
        settings: Everything that can be set.
        engine: An engine to serve instead of the artefacts that `settings` name.
        lifecycle: Of models that are made in another way than with engines in this process.
        metrics: Where everything is counted; by default nowhere else than here.

    Raises:
        StartError: the file of API keys cannot be used, or traces cannot be had.
    """
    metrics, tracer = metrics or Metrics(settings.max_batch_size), tracer_of(settings)
    lifecycle = lifecycle or _lifecycle(settings, engine, local.Builder(settings, metrics, engine, tracer))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        lifecycle.start()
        yield
        await lifecycle.stop()
        if tracer is not None:
            await asyncio.to_thread(tracer.close)

    app: FastAPI = FastAPIOffline(
        title="resnet-serve",
        version=version("resnet-serve"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # it looks for providers with each request
    )
    app.state.lifecycle = lifecycle
    app.state.metrics = metrics
    app.state.keys = Keys(settings.api_keys_file) if settings.api_keys_file is not None else None
    direct = [*classify.routes(settings, lifecycle), *infer.routes(settings, lifecycle)]
    app.router.routes.extend([*direct, *page.routes()])
    app.include_router(models.router(lifecycle))
    app.include_router(statistics.router(lifecycle, metrics))  # before a model by the name of stats
    app.include_router(about.router(settings, lifecycle))
    app.include_router(administration.router(settings, lifecycle))
    app.state.management = _management(settings, lifecycle, metrics)
    if settings.management_port is None:
        app.router.routes.extend(app.state.management.routes)
    app.add_middleware(PageHeaders)
    app.add_middleware(RequestIdMiddleware)
    problems.install(app)
    entrance = _guarded(app, FrontDoor(app.build_middleware_stack(), direct), settings)
    app.middleware_stack = Reception(entrance, settings, metrics, tracer)
    return app


def _lifecycle(settings: Settings, engine: Engine | None, builder: local.Builder) -> Lifecycle:
    registry: Registry[Model] = Registry()

    def first() -> dict[Wanted, Artefact]:
        if engine is None:
            return wanted(settings.artifacts, settings.model)
        name = engine.contract.name
        return {Wanted(name): Artefact(name, 0, settings.artifacts)}

    return Lifecycle(registry, Loader(settings, first, registry, builder))


def _management(settings: Settings, lifecycle: Lifecycle, metrics: Metrics) -> FastAPI:
    """Return what those who run the service ask, which may have a port of its own."""
    app = FastAPI(openapi_url=None)
    app.include_router(health.router(lifecycle))
    app.include_router(exposition.router(settings, lifecycle, metrics))
    app.add_middleware(RequestIdMiddleware)
    problems.install(app)
    app.middleware_stack = Reception(app.build_middleware_stack(), settings, metrics)
    return app


def _guarded(app: FastAPI, entrance: ASGIApp, settings: Settings) -> ASGIApp:
    """Return `entrance` with what keeps people out put before it, where that is set."""
    if settings.api_keys_file is not None:
        entrance = access.KeyCheck(entrance, app.state.keys)
        access.describe(app)
    if settings.cors_origins:  # outside, since a browser asks first whether it may send a key (Fetch, CORS preflight)
        entrance = CORSMiddleware(
            entrance,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "Server-Timing", "X-Request-ID"],
        )
    return entrance
