"""The shapes of the answers, for the OpenAPI document and for clients."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from service.contract import Certificate, Contract
from service.errors import (
    BadRequest,
    DeadlineExceeded,
    EngineFailed,
    Forbidden,
    NotFound,
    QueueFull,
    ServiceError,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unprocessable,
    UnsupportedImage,
)

Json = dict[str, JsonValue]
GoldenStatus = Literal["right", "wrong", "absent"]

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

    status: str = Field(description="ready, starting, draining, failed, or unavailable while an engine is replaced.")
    reason: str | None = Field(default=None, description="Why a request would not be answered now.")
    model: ModelInfo | None = Field(default=None)
    provider: str | None = Field(default=None, description="The execution provider in use, as the session reports it.")
    uptime_s: float
    queue_depth: int = Field(description="Images that are waiting, or being decoded in order to wait.")


class GoldenAnswered(BaseModel):
    """What one golden image of the contract was answered when the artefact was loaded."""

    model_config = ConfigDict(from_attributes=True)

    expected: int = Field(description="Index of the class that must come first.")
    expected_probability: float
    index: int = Field(description="Of the class that did.")
    probability: float = Field(description="Of the class that must come first.")
    right: bool


class GoldenReport(BaseModel):
    """Whether the artefact comes out right on the provider in use; where it does not, nobody is answered."""

    status: GoldenStatus
    fault: str | None
    answers: tuple[GoldenAnswered, ...]


class ModelDetails(BaseModel):
    """All that is known about a model."""

    name: str
    version: str
    provider: str = Field(description="The execution provider in use, as the session reports it.")
    golden: GoldenReport
    certificate: Certificate | None = Field(description="What was verified when the artefact was written.")
    contract: Contract


# By status: the error, what it means, and an example of its detail.
_PROBLEMS: dict[int, tuple[type[ServiceError], str, str]] = {
    400: (BadRequest, "Empty body, malformed multipart or JSON.", "the body is empty: send an image"),
    401: (Unauthorized, "No API key, or one that is not valid.", "the API key is not valid"),
    403: (Forbidden, "Off, unless the service was started otherwise.", "loading and unloading models is off"),
    404: (NotFound, "No such model, or not in that version.", "resnet34 is not served here, only resnet50:1"),
    413: (
        TooLarge,
        "The body, or the image once decoded, is over the limit.",
        "the body has 31457280 bytes, the limit is 20971520",
    ),
    415: (UnsupportedImage, "Not an image, or a format that is not allowed.", "not an image of an allowed format"),
    422: (
        Unprocessable,
        "An image, but truncated or corrupt; or a parameter out of range.",
        "top_k must be a whole number from 1 to 1000",
    ),
    429: (
        QueueFull,
        "The queue is full; `Retry-After` says when to try again.",
        "512 of 512 places in the queue are taken",
    ),
    500: (
        EngineFailed,
        "Inference failed; the log has the cause under the request's id.",
        "inference failed; the log has the cause under this id",
    ),
    503: (Unavailable, "Starting, draining, or the engine is being replaced.", "the service is starting"),
    504: (
        DeadlineExceeded,
        "The deadline passed, or cannot be met.",
        "the deadline passed before the answer was there",
    ),
}


REQUEST_ID: dict[str, Any] = {
    "X-Request-ID": {"description": "The request's own, or a new one.", "required": True, "schema": {"type": "string"}}
}
_RETRY_AFTER: dict[str, Any] = {
    "Retry-After": {"description": "Seconds.", "required": True, "schema": {"type": "integer", "minimum": 1}}
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI responses for `statuses`, each a problem document."""
    return {
        status: {
            "description": _PROBLEMS[status][1],
            "content": {
                "application/problem+json": {"schema": Problem.model_json_schema(), "example": _example(status)}
            },
            "headers": REQUEST_ID | (_RETRY_AFTER if status in (429, 503) else {}),
        }
        for status in statuses
    }


def _example(status: int) -> Json:
    kind, _, detail = _PROBLEMS[status]
    return {"title": kind.title, "status": status, "detail": detail, "request_id": "0af7651916cd43dd8448eb211c80319c"}
