"""The shapes of the answers, for the OpenAPI document and for clients."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Json = dict[str, JsonValue]

_MODEL: Json = {"name": "resnet50", "version": "1", "precision": "fp32", "weights": "IMAGENET1K_V2"}
_PREDICTION: Json = {"index": 207, "wnid": "n02099601", "label": "golden retriever", "probability": 0.8731206}
_DOG: Json = {"filename": "dog.jpg", "predictions": [_PREDICTION]}
_UNSUPPORTED: Json = {"title": "Unsupported image", "status": 415, "detail": "not an image of an allowed format"}
_NOTES: Json = {"filename": "notes.txt", "problem": _UNSUPPORTED}
_HEALTH: Json = {
    "status": "ready",
    "model": _MODEL,
    "provider": "CUDAExecutionProvider",
    "uptime_s": 86400.0,
    "queue_depth": 3,
}


class Problem(BaseModel):
    """What went wrong (RFC 9457); `type` is absent, which means about:blank."""

    title: str
    status: int
    detail: str
    request_id: str | None = Field(default=None, description="Finds the request in the service's log.")


class ModelInfo(BaseModel):
    """Which model answered."""

    name: str
    version: str
    precision: str = Field(description="fp32, fp16 or int8.")
    weights: str = Field(description='Where they came from; "untrained" if nothing was ever learned.')


class Prediction(BaseModel):
    """One class."""

    index: int = Field(description="Position in the model's output.")
    wnid: str | None = Field(description="WordNet id, where the class has one.")
    label: str
    probability: float = Field(ge=0, le=1)


class Classification(BaseModel):
    """The most probable classes of one image, most probable first."""

    model_config = ConfigDict(json_schema_extra={"example": {"model": _MODEL, "predictions": [_PREDICTION]}})

    model: ModelInfo
    predictions: list[Prediction]


class Result(BaseModel):
    """One image of several: its predictions, or its own problem."""

    filename: str | None = Field(default=None, description="As the sender named it.")
    predictions: list[Prediction] | None = None
    problem: Problem | None = None


class Classifications(BaseModel):
    """One result per image, in the order they were sent."""

    model_config = ConfigDict(json_schema_extra={"example": {"model": _MODEL, "results": [_DOG, _NOTES]}})

    model: ModelInfo
    results: list[Result]


class Health(BaseModel):
    """Whether a request would be answered, and by what."""

    model_config = ConfigDict(json_schema_extra={"example": _HEALTH})

    status: str = Field(description="ready, starting, draining or failed.")
    model: ModelInfo | None = Field(default=None)
    provider: str | None = Field(default=None, description="The execution provider in use, as the session reports it.")
    uptime_s: float
    queue_depth: int = Field(description="Images that are waiting, or being decoded in order to wait.")


_PROBLEMS = {
    400: "Empty body, malformed multipart or JSON.",
    413: "The body, or the image once decoded, is over the limit.",
    415: "Not an image, or a format that is not allowed.",
    422: "An image, but truncated or corrupt; or a parameter out of range.",
    429: "The queue is full; `Retry-After` says when to try again.",
    500: "Inference failed; the log has the cause under the request's id.",
    503: "Starting, draining, or the engine is being replaced.",
    504: "The deadline passed, or cannot be met.",
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI responses for `statuses`, each a problem document."""
    retry = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}}}
    return {
        status: {
            "description": _PROBLEMS[status],
            "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
            **({"headers": retry} if status in (429, 503) else {}),
        }
        for status in statuses
    }
