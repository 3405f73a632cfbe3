"""The application: everything is assembled here and nowhere else. Nothing happens at import."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi_offline import FastAPIOffline

from service import local
from service.api import classify, exposition, health, models, problems
from service.api.direct import FrontDoor
from service.api.request_id import RequestIdMiddleware
from service.lifecycle import Lifecycle
from service.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import FastAPI

    from service.engine import Engine
    from service.model import Model
    from service.settings import Settings

_DESCRIPTION = """Classifies images with a trained residual network (He et al. 2015).

Every failure is an RFC 9457 `application/problem+json` document; every answer carries `X-Request-ID`."""


def create_app(
    settings: Settings,
    engine: Engine | None = None,
    *,
    build: Callable[[], Model] | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """Assemble the service.

    Args:
        settings: Everything that can be set.
        engine: An engine to serve instead of the artefact that `settings` name.
        build: Builds the model in another way than with an engine in this process.
        metrics: Where everything is counted; by default nowhere else than here.
    """
    metrics = metrics or Metrics()
    lifecycle = Lifecycle(build or partial(local.build, settings, metrics, engine))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        lifecycle.start()
        yield
        await lifecycle.stop()

    app: FastAPI = FastAPIOffline(
        title="resnet-serve",
        version=version("resnet-serve"),
        description=_DESCRIPTION,
        lifespan=lifespan,
    )
    app.state.lifecycle = lifecycle
    direct = classify.routes(settings, lifecycle)
    app.router.routes.extend(direct)
    app.include_router(health.router(lifecycle))
    app.include_router(exposition.router(settings, lifecycle, metrics))
    app.include_router(models.router(lifecycle))
    app.add_middleware(RequestIdMiddleware)
    problems.install(app)
    app.middleware_stack = FrontDoor(app.build_middleware_stack(), direct, metrics)
    return app
