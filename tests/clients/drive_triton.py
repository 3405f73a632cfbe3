"""Asks a server with tritonclient, in an environment that has it, and prints what came back as JSON.

    python drive_triton.py URL FOLDER MODEL

FOLDER holds files of images, *.img, and pixels.npy: the same decoded, (N, H, W, 3).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from google.protobuf import json_format
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

MODEL = sys.argv[3]
FILES = [path.read_bytes() for path in sorted(Path(sys.argv[2]).glob("*.img"))]
PIXELS = np.load(Path(sys.argv[2]) / "pixels.npy")


def tensor(name: str, count: int, *, binary: bool, module: Any = triton) -> Any:
    if name == "image":
        array, datatype = PIXELS[:count], "UINT8"
    else:
        encoded = FILES[:count] if binary else [base64.b64encode(file).decode() for file in FILES[:count]]
        array, datatype = np.array(encoded, dtype=object), "BYTES"
    made = module.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def failure(call: Any) -> list[str]:
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return ["no failure", ""]


def answers(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    ways = itertools.product(("image", "encoded_image"), (1, len(FILES)), (False, True), (False, True))
    for name, count, binary_in, binary_out in ways:
        result = client.infer(
            MODEL,
            [tensor(name, count, binary=binary_in)],
            outputs=[triton.InferRequestedOutput("probabilities", binary_data=binary_out)],
            request_id="17",
            priority=2,
            timeout=20_000_000,
        )
        assert result.get_response()["id"] == "17"
        rows = result.as_numpy("probabilities")
        found[f"{name}, {count}, binary in {binary_in}, binary out {binary_out}"] = rows.tolist()
    for coding in ("gzip", "deflate"):
        result = client.infer(
            MODEL,
            [tensor("image", len(FILES), binary=True)],
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        found[f"image, {coding}"] = result.as_numpy("probabilities").tolist()
    return found


async def asynchronously(url: str) -> Any:
    async with triton_aio.InferenceServerClient(url) as client:
        inputs = [tensor("encoded_image", 1, binary=True, module=triton_aio)]
        results = await asyncio.gather(*(client.infer(MODEL, inputs) for _ in range(8)))
        return [result.as_numpy("probabilities")[0].tolist() for result in results]


def statistics(told: Any) -> Any:
    """Return what was told, having read it as Triton's own message: no field may be unknown or of another type."""
    message = json_format.ParseDict(told, service_pb2.ModelStatisticsResponse())
    (model,) = message.model_stats
    return {
        "name": model.name,
        "version": model.version,
        "images": model.inference_count,
        "runs": model.execution_count,
        "answered": model.inference_stats.success.count,
        "run by size": sum(each.batch_size * each.compute_infer.count for each in model.batch_stats),
    }


def main(url: str) -> dict[str, Any]:
    client = triton.InferenceServerClient(url)
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=True, class_count=2)]
    classes = client.infer(MODEL, [tensor("image", len(FILES), binary=True)], outputs=outputs)
    wrong = triton.InferInput("image", [1, 3, 5, 5], "UINT8")
    wrong.set_data_from_numpy(np.zeros((1, 3, 5, 5), np.uint8))
    garbage = triton.InferInput("encoded_image", [1], "BYTES")
    garbage.set_data_from_numpy(np.array([b"no image"], dtype=object))
    good = [tensor("image", 1, binary=True)]
    newest = MODEL, client.get_model_metadata(MODEL)["versions"][-1]
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready(MODEL),
        "other ready": client.is_model_ready("nobody"),
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata(MODEL),
        "config": client.get_model_config(MODEL),
        "index": client.get_model_repository_index(),
        "answers": answers(client),
        "statistics": [statistics(client.get_inference_statistics(*which)) for which in ((), (MODEL,), newest)],
        "async": asyncio.run(asynchronously(url)),
        "classes": [[name.decode() for name in row] for row in classes.as_numpy("probabilities")],
        "failures": {
            "shape": failure(lambda: client.infer(MODEL, [wrong])),
            "garbage": failure(lambda: client.infer(MODEL, [garbage])),
            "model": failure(lambda: client.infer("nobody", good)),
            "version": failure(lambda: client.infer(MODEL, good, model_version="9")),
            "load": failure(lambda: client.load_model(MODEL)),
            "metadata": failure(lambda: client.get_model_metadata("nobody")),
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
