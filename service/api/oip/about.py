"""What server and models say of themselves: health, metadata, configuration."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from service.api.oip.documents import add, failures
from service.api.oip.request import ENCODED_NAME
from service.contract import INPUT_NAME, OUTPUT_NAME
from service.lifecycle import Phase
from service.line import DEFAULT_LEVEL, LEVELS

if TYPE_CHECKING:
    from service.lifecycle import Lifecycle
    from service.model import Model
    from service.settings import Settings

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
)
_PLATFORM = "onnxruntime_onnx"  # Triton's name for a model in ONNX


def router(settings: Settings, lifecycle: Lifecycle) -> APIRouter:
    """Return the routes; those of a model exist for its leading version and for each by number."""
    about = _About(settings, lifecycle)
    router = APIRouter(tags=["open inference protocol"])
    for path, endpoint, summary in (
        ("/v2", about.server, "Name, version and extensions"),
        ("/v2/health/live", about.live, "Whether the process runs"),
        ("/v2/health/ready", about.ready, "Whether requests would be answered, by every model"),
    ):
        name = path.strip("/").replace("/", "_")
        not_now: dict[int | str, dict[str, Any]] = {} if path == "/v2" else {503: {"description": "Not now."}}
        add(router, path, endpoint, name=name, summary=summary, responses=not_now)
    for suffix, of_model, summary in (
        ("", about.model, "A model's tensors and versions"),
        ("/ready", about.model_ready, "Whether a model would answer"),
        ("/config", about.config, "A model's configuration, as Triton describes one"),
    ):
        for path, name in (("/v2/models/{name}", "v2_model"), ("/v2/models/{name}/versions/{version}", "v2_version")):
            name += suffix.replace("/", "_")
            add(router, path + suffix, of_model, name=name, summary=summary, responses=failures(404, 422, 503))
    return router


class _About:
    def __init__(self, settings: Settings, lifecycle: Lifecycle) -> None:
        self._settings = settings
        self._lifecycle = lifecycle

    async def server(self) -> JSONResponse:
        return JSONResponse(
            {"name": "resnet-serve", "version": version_of("resnet-serve"), "extensions": list(EXTENSIONS)}
        )

    async def live(self) -> JSONResponse:
        live = not self._lifecycle.lost
        return JSONResponse({"live": live}, 200 if live else 503)

    async def ready(self) -> JSONResponse:
        ready = self._lifecycle.status is Phase.READY
        # `ready` is what KServe's client reads; the specification's text says `live` here.
        return JSONResponse({"live": not self._lifecycle.lost, "ready": ready}, 200 if ready else 503)

    async def model_ready(self, name: str, version: str | None = None) -> JSONResponse:
        self._lifecycle.find(name, version)
        return JSONResponse({"name": name, "ready": True})

    async def model(self, name: str, version: str | None = None) -> JSONResponse:
        model = self._lifecycle.known(name, version)
        crop, classes = model.contract.preprocessing.crop, model.predictions.classes
        return JSONResponse(
            {
                "name": name,
                "versions": [str(each) for each in self._lifecycle.registry.versions(name)],
                "platform": _PLATFORM,
                "inputs": [
                    {"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, crop, crop, 3]},
                    {"name": ENCODED_NAME, "datatype": "BYTES", "shape": [-1]},
                ],
                "outputs": [{"name": OUTPUT_NAME, "datatype": "FP32", "shape": [-1, classes]}],
            }
        )

    async def config(self, name: str, version: str | None = None) -> JSONResponse:
        model = self._lifecycle.known(name, version)
        versions = self._lifecycle.registry.versions(name)
        return JSONResponse(_tensors(model) | _batching(self._settings, model) | _policy(versions))


def _tensors(model: Model) -> dict[str, Any]:
    """Return the part of Triton's ModelConfig message that says what goes in and out, without the batch axis."""
    crop = model.contract.preprocessing.crop
    return {
        "name": model.name,
        "platform": _PLATFORM,
        "backend": "onnxruntime",
        # One of the two is sent: each is optional beside the other.
        "input": [
            {"name": INPUT_NAME, "data_type": "TYPE_UINT8", "dims": [crop, crop, 3], "optional": True},
            {"name": ENCODED_NAME, "data_type": "TYPE_STRING", "dims": [1], "optional": True},
        ],
        "output": [{"name": OUTPUT_NAME, "data_type": "TYPE_FP32", "dims": [model.predictions.classes]}],
    }


def _batching(settings: Settings, model: Model) -> dict[str, Any]:
    return {
        "max_batch_size": settings.max_images_per_request,
        "dynamic_batching": {
            "max_queue_delay_microseconds": round(settings.max_queue_delay_ms * 1000),
            "priority_levels": LEVELS,
            "default_priority_level": DEFAULT_LEVEL,
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": round(settings.request_timeout_ms * 1000),
                "allow_timeout_override": True,
                "max_queue_size": settings.queue_capacity,
            },
        },
        "instance_group": [{"count": 1, "kind": "KIND_GPU" if model.provider.startswith("CUDA") else "KIND_CPU"}],
    }


def _policy(versions: list[int]) -> dict[str, Any]:
    return {"version_policy": {"specific": {"versions": versions}}}
