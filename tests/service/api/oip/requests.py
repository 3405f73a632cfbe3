"""Inference requests to `brightness`, as bytes on the wire; nothing here is shared with the code that reads them."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

CROP = 32
PATH = "/v2/models/brightness/infer"


def pixels(*levels: int) -> NDArray[np.uint8]:
    """Return images all of one grey each, (N, CROP, CROP, 3)."""
    return np.repeat(np.array(levels, np.uint8), CROP * CROP * 3).reshape(-1, CROP, CROP, 3)


def image(*levels: int, **changes: Any) -> dict[str, Any]:
    """Return the input `image` in JSON, nested as its shape."""
    array = pixels(*levels)
    return {"name": "image", "datatype": "UINT8", "shape": list(array.shape), "data": array.tolist(), **changes}


def encoded(*files: bytes, **changes: Any) -> dict[str, Any]:
    """Return the input `encoded_image` in JSON."""
    data = [base64.b64encode(file).decode() for file in files]
    return {"name": "encoded_image", "datatype": "BYTES", "shape": [len(files)], "data": data, **changes}


def behind(tensor: dict[str, Any], data: bytes) -> dict[str, Any]:
    """Return `tensor` with its data, `data`, in binary behind the JSON."""
    return {key: value for key, value in tensor.items() if key != "data"} | {
        "parameters": {"binary_data_size": len(data)}
    }


def elements(*files: bytes) -> bytes:
    """Return a BYTES tensor in binary."""
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def infer(url: str, body: bytes | dict[str, Any], path: str = PATH, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with httpx.Client(verify=False) as client:
        return client.post(url + path, content=content, headers=headers)


def infer_binary(url: str, request: dict[str, Any], data: bytes, path: str = PATH, **headers: str) -> httpx.Response:
    """Send `data` behind the JSON of `request`."""
    text = json.dumps(request).encode()
    return infer(url, text + data, path, **{"Inference-Header-Content-Length": str(len(text))} | headers)


def output(response: httpx.Response) -> dict[str, Any]:
    """Return the one output of a successful response, its binary data under "data" where it has any."""
    assert response.status_code == 200, response.text
    length = response.headers.get("inference-header-content-length")
    assert response.headers["content-type"] == ("application/json" if length is None else "application/octet-stream")
    end = len(response.content) if length is None else int(length)
    answer = json.loads(response.content[:end])
    (found,) = answer["outputs"]
    rest = response.content[end:]
    if length is not None:
        assert found["parameters"] == {"binary_data_size": len(rest)}
        found["data"] = rest
    assert found["name"] == "probabilities"
    out: dict[str, Any] = found
    return out


def rows(response: httpx.Response) -> NDArray[np.float32]:
    """Return the probabilities of a successful response, (N, classes)."""
    found = output(response)
    assert found["datatype"] == "FP32"
    data = found["data"]
    flat = np.frombuffer(data, "<f4") if isinstance(data, bytes) else np.array(data, np.float32)
    return flat.reshape(found["shape"])


def greys(response: httpx.Response) -> list[int]:
    """Return which grey each image was found to be."""
    return [int(index) for index in rows(response).argmax(axis=1)]


def error(response: httpx.Response, status: int) -> str:
    """Check that a failure is as the protocol has it; return what it says."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert set(document) == {"error"}
    assert isinstance(document["error"], str)
    assert document["error"]
    assert response.headers["x-request-id"]
    message: str = document["error"]
    return message
