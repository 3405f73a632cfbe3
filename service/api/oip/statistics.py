"""What models were asked and ran so far, as Triton's statistics extension tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from service.api.oip.documents import add, failures
from service.statistics import Statistics, Total

if TYPE_CHECKING:
    from service.lifecycle import Lifecycle
    from service.metrics import Metrics
    from service.model import Model


def router(lifecycle: Lifecycle, metrics: Metrics) -> APIRouter:
    """Return the routes; whichever process they are in, they answer for all of them."""
    router = APIRouter(tags=["open inference protocol"])

    def told(models: list[Model]) -> JSONResponse:
        return JSONResponse({"model_stats": [_model(metrics, model) for model in models]})

    async def every() -> JSONResponse:
        return told(lifecycle.registry.models)

    async def of_name(name: str) -> JSONResponse:
        lifecycle.known(name)
        return told([lifecycle.registry.find(name, str(each)) for each in lifecycle.registry.versions(name)])

    async def of_version(name: str, version: str) -> JSONResponse:
        return told([lifecycle.known(name, version)])

    for path, endpoint, name, summary in (
        ("/v2/models/stats", every, "v2_stats", "What every model was asked and ran so far"),
        ("/v2/models/{name}/stats", of_name, "v2_model_stats", "What a model was asked and ran so far, by version"),
        ("/v2/models/{name}/versions/{version}/stats", of_version, "v2_version_stats", "The same of one version"),
    ):
        responses = {} if endpoint is every else failures(404, 422, 503)
        add(router, path, endpoint, name=name, summary=summary, responses=responses)
    return router


def _model(metrics: Metrics, model: Model) -> dict[str, Any]:
    counted = Statistics(metrics.ledger, metrics.layout, model.name, model.version)
    runs = list(counted.runs())
    answered, computed = counted[Total.ANSWERED], counted[Total.COMPUTED]
    return {
        "name": model.name,
        "version": str(model.version),
        "last_inference": round(counted[Total.LATEST_MS]),
        "inference_count": sum(each.images * each.runs for each in runs),
        "execution_count": sum(each.runs for each in runs),
        "inference_stats": {
            "success": _duration(answered, counted[Total.ANSWERED_S]),
            "fail": _duration(counted[Total.FAILED], counted[Total.FAILED_S]),
            "queue": _duration(answered, counted[Total.QUEUE_S]),
            "compute_input": _duration(answered, counted[Total.DECODE_S]),
            "compute_infer": _duration(computed, counted[Total.INFERENCE_S]),
            "compute_output": _duration(answered, counted[Total.ANSWER_S]),
            "cache_hit": _duration(counted[Total.KNOWN], counted[Total.KNOWN_S]),
            "cache_miss": _duration(counted[Total.MISSED], counted[Total.MISSED_S]),
        },
        # Decoding comes before batches are formed, and answers are made one by one: a run has neither.
        "batch_stats": [
            {
                "batch_size": each.images,
                "compute_input": _duration(each.runs, 0.0),
                "compute_infer": _duration(each.runs, each.seconds),
                "compute_output": _duration(each.runs, 0.0),
            }
            for each in runs
        ],
        "memory_usage": [],
    }


def _duration(count: float, seconds: float) -> dict[str, int]:
    return {"count": round(count), "ns": round(seconds * 1e9)}
