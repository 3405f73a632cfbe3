"""Asks a server with KServe's client, in an environment that has it, and prints what came back as JSON.

python drive_kserve.py URL FOLDER MODEL      as drive_triton.py
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

URL, FOLDER, MODEL = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
FILES = [path.read_bytes() for path in sorted(FOLDER.glob("*.img"))]
PIXELS = np.load(FOLDER / "pixels.npy")


def request(name: str, count: int, *, binary_in: bool, binary_out: bool) -> InferRequest:
    if name == "image":
        array, datatype = PIXELS[:count], "UINT8"
    else:
        encoded = FILES[:count] if binary_in else [base64.b64encode(file).decode() for file in FILES[:count]]
        array, datatype = np.array(encoded, dtype=object), "BYTES"
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary_in)
    return InferRequest(MODEL, [tensor], request_id="17", parameters={"binary_data_output": binary_out})


async def failure(client: InferenceRESTClient, model: str, asked: InferRequest) -> list[str]:
    try:
        await client.infer(URL, asked, model)
    except httpx.HTTPStatusError as error:
        return [str(error.response.status_code), str(error)]
    return ["no failure", ""]


async def main() -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    found: dict[str, Any] = {}
    ways = itertools.product(("image", "encoded_image"), (1, len(FILES)), (False, True), (False, True))
    for name, count, binary_in, binary_out in ways:
        response = await client.infer(URL, request(name, count, binary_in=binary_in, binary_out=binary_out), MODEL)
        assert response.id == "17"
        rows = response.outputs[0].as_numpy().reshape(response.outputs[0].shape)
        found[f"{name}, {count}, binary in {binary_in}, binary out {binary_out}"] = rows.tolist()
    good = request("image", 1, binary_in=True, binary_out=True)
    wrong = InferInput("image", [1, 3, 5, 5], "UINT8")
    wrong.set_data_from_numpy(np.zeros((1, 3, 5, 5), np.uint8), binary_data=False)
    garbage = InferInput("encoded_image", [1], "BYTES")
    garbage.set_data_from_numpy(np.array([b"no image"], dtype=object))
    told = {
        "live": await client.is_server_live(URL),
        "ready": await client.is_server_ready(URL),
        "model ready": await client.is_model_ready(URL, MODEL),
        "other ready": await client.is_model_ready(URL, "nobody"),
        "answers": found,
        "failures": {
            "shape": await failure(client, MODEL, InferRequest(MODEL, [wrong])),
            "garbage": await failure(client, MODEL, InferRequest(MODEL, [garbage])),
            "model": await failure(client, "nobody", good),
        },
    }
    await client.close()
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
