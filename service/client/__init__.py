"""The Python client: images in, typed classes or typed errors out; over HTTP, or of an artefact without a service.

    from service.client import Client

    with Client("http://127.0.0.1:8000") as client:
        print(client.classify("cat.jpg").top.label)

It loads httpx, and what else it needs only for what needs it: Pillow and NumPy for pictures and arrays, tqdm for
progress, ONNX Runtime for `OfflineClient`; never FastAPI.

    http ──▶ exchange ──▶ answers, failures      Client, AsyncClient: the same exchange, sent in two ways
         └─▶ images                              whatever a caller has, as the bytes of a file
    offline ──▶ the service's own decoder and engine
    __main__ ──▶ inputs, output                  the command line: resnet-classify
"""

from service.client.answers import Classification, ModelInfo, Outcome, Prediction, Timing
from service.client.failures import UnexpectedAnswer, Unreachable
from service.client.http import AsyncClient, Client
from service.client.images import Source
from service.errors import (
    BadRequest,
    CorruptImage,
    DeadlineExceeded,
    EngineFailed,
    NotFound,
    QueueFull,
    ServiceError,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unprocessable,
    UnsupportedImage,
)

__all__ = [
    "AsyncClient",
    "BadRequest",
    "Classification",
    "Client",
    "CorruptImage",
    "DeadlineExceeded",
    "EngineFailed",
    "ModelInfo",
    "NotFound",
    "Outcome",
    "Prediction",
    "QueueFull",
    "ServiceError",
    "Source",
    "Timing",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unprocessable",
    "Unreachable",
    "UnsupportedImage",
]
