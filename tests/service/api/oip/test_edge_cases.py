"""What is wrong with an inference request is said in the protocol's words, before anything is spent on it."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.api.greys import grey
from tests.service.api.oip.requests import (
    CROP,
    PATH,
    behind,
    elements,
    encoded,
    error,
    greys,
    image,
    infer,
    infer_binary,
    pixels,
)
from tests.service.apps import FakeEngine, Gate, running, soon

SIZE = CROP * CROP * 3


def numbers(*values: Any) -> dict[str, Any]:
    """Return the input `image` whose last elements are `values`."""
    return image(1, data=[0] * (SIZE - len(values)) + list(values))


def wants(**parameters: Any) -> dict[str, Any]:
    return {"inputs": [image(1)], "outputs": [{"name": "probabilities", "parameters": parameters}]}


def with_(**parameters: Any) -> dict[str, Any]:
    return {"inputs": [image(1)], "parameters": parameters}


def answers(*outputs: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": [image(1)], "outputs": outputs}


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        pytest.param(b"", 400, "empty", id="no body"),
        pytest.param(b"{", 400, "malformed", id="cut off"),
        pytest.param(b"[]", 400, "malformed", id="no object"),
        pytest.param(b"\xff\xfe", 400, "malformed", id="no UTF-8"),
        pytest.param(b'{"inputs": ' + b"[" * 100_000, 400, "malformed", id="deep"),
        pytest.param({}, 400, "inputs", id="no inputs"),
        pytest.param({"inputs": []}, 400, "inputs", id="empty inputs"),
        pytest.param({"inputs": [image(1), image(2)]}, 400, "inputs", id="two inputs"),
        pytest.param({"inputs": [{"name": "image"}]}, 400, "inputs", id="input without shape"),
        pytest.param({"inputs": [image(1)], "id": 42}, 400, "id", id="id is a number"),
        pytest.param({"inputs": [image(1, name="pixels")]}, 400, "no input 'pixels'", id="unknown input"),
        pytest.param({"inputs": [image(1, datatype="FP32")]}, 400, "is UINT8, not 'FP32'", id="datatype of pixels"),
        pytest.param({"inputs": [encoded(b"x", datatype="UINT8")]}, 400, "is BYTES", id="datatype of files"),
        pytest.param({"inputs": [image(1, shape=[1, 3, CROP, CROP])]}, 400, "shape", id="channels first"),
        pytest.param({"inputs": [image(1, shape=[CROP, CROP, 3])]}, 400, "shape", id="no batch axis"),
        pytest.param({"inputs": [image(1, shape=[0, CROP, CROP, 3])]}, 400, "shape", id="no images"),
        pytest.param({"inputs": [image(1, shape=[-1, CROP, CROP, 3])]}, 400, "shape", id="negative"),
        pytest.param({"inputs": [image(1, shape=["1"])]}, 400, "shape", id="shape of strings"),
        pytest.param({"inputs": [image(1, shape=[10**30, CROP, CROP, 3])]}, 413, "limit is 12", id="beyond 64 bits"),
        pytest.param({"inputs": [image(1, shape=[1] * 60_000)]}, 413, "shape: 180000 bytes", id="endless shape"),
        pytest.param({"inputs": [encoded(b"x", shape=[1, 2])]}, 400, "shape", id="two files an image"),
        pytest.param({"inputs": [image(1, shape=[13, CROP, CROP, 3])]}, 413, "limit is 12", id="too many images"),
        pytest.param({"inputs": [encoded(*[b"x"] * 13)]}, 413, "limit is 12", id="too many files"),
        pytest.param({"inputs": [image(1, data=[0] * (SIZE - 1))]}, 400, "3071 elements", id="too few elements"),
        pytest.param({"inputs": [image(1, data=[0] * (SIZE + 1))]}, 400, "3073 elements", id="too many elements"),
        pytest.param({"inputs": [image(1, data=[])]}, 400, "elements", id="no elements"),
        pytest.param({"inputs": [image(1, data=None)]}, 400, "elements", id="data is null"),
        pytest.param({"inputs": [encoded(grey(1), grey(2), shape=[3])]}, 400, "2 elements", id="too few files"),
        pytest.param({"inputs": [encoded(shape=[1])]}, 400, "0 elements", id="no file"),
        pytest.param({"inputs": [numbers(256)]}, 400, "0 to 255", id="256"),
        pytest.param({"inputs": [numbers(-1)]}, 400, "0 to 255", id="-1"),
        pytest.param({"inputs": [numbers(0.5)]}, 400, "0 to 255", id="a fraction"),
        pytest.param({"inputs": [numbers(True)]}, 400, "0 to 255", id="a bool"),
        pytest.param({"inputs": [numbers("1")]}, 400, "0 to 255", id="a string"),
        pytest.param({"inputs": [numbers("1,1")]}, 400, "elements", id="a string with a comma"),
        pytest.param({"inputs": [numbers([], 1)]}, 400, "0 to 255", id="an empty row"),
        pytest.param({"inputs": [encoded(b"", data=["?!"])]}, 400, "base64", id="no base64"),
        pytest.param({"inputs": [encoded(b"", data=[7])]}, 400, "base64", id="a number for a file"),
        pytest.param({"inputs": [encoded(b"")]}, 400, "encoded_image[0]: ", id="an empty file"),
        pytest.param({"inputs": [encoded(grey(1), b"GIF")]}, 415, "encoded_image[1]: ", id="no image"),
        pytest.param({"inputs": [encoded(grey(1)[:60])]}, 422, "encoded_image[0]: ", id="half an image"),
        pytest.param(answers({"name": "logits"}), 400, "not 'logits'", id="unknown output"),
        pytest.param(answers({"name": "probabilities"}, {"name": "probabilities"}), 400, "only", id="output twice"),
        pytest.param(answers({"name": "p" * 70_000}), 413, "outputs", id="endless outputs"),
        pytest.param(wants(classification=0), 422, "1 to 256", id="no classes"),
        pytest.param(wants(classification=257), 422, "1 to 256", id="more classes than there are"),
        pytest.param(wants(classification="3"), 400, "classification", id="classes as a string"),
        pytest.param(wants(classification=True), 400, "classification", id="classes as a bool"),
        pytest.param(wants(binary_data=1), 400, "binary_data", id="binary_data is a number"),
        pytest.param(wants(binary_data=[1]), 400, "malformed", id="a parameter is an array"),
        pytest.param(with_(timeout=-1), 400, "timeout", id="negative timeout"),
        pytest.param(with_(timeout=0.5), 400, "timeout", id="timeout is a fraction"),
        pytest.param(with_(priority=6), 422, "priority", id="priority 6"),
        pytest.param(with_(priority="1"), 400, "priority", id="priority is a string"),
        pytest.param(with_(x="y" * 70_000), 413, "parameters", id="endless parameters"),
        pytest.param({"inputs": [image(*range(12))], "x": "y" * 300_000}, 413, "limit is 300000", id="body too large"),
    ],
)
def test_a_request_in_json_that_cannot_be_answered(
    url: str, request_: bytes | dict[str, Any], status: int, message: str
) -> None:
    assert message in error(infer(url, request_), status)


@pytest.mark.parametrize(
    ("tensor", "data", "message"),
    [
        pytest.param(behind(image(1), bytes(SIZE)), bytes(SIZE - 1), "binary_data_size is 3072", id="less than said"),
        pytest.param(behind(image(1), bytes(SIZE)), bytes(SIZE + 1), "3073 bytes follow", id="more than said"),
        pytest.param(image(1), bytes(1), "no input has a binary_data_size", id="not said"),
        pytest.param(behind(image(1, 2), bytes(SIZE)), bytes(SIZE), "has 3072 bytes, its shape says 6144", id="half"),
        pytest.param(image(1, parameters={"binary_data_size": 4}), bytes(4), "both", id="in both forms"),
        pytest.param(image(1, parameters={"binary_data_size": "4"}), bytes(4), "binary_data_size is 4", id="a string"),
        pytest.param(behind(encoded(b"x"), b"\1\0\0"), b"\1\0\0", "ends within its length", id="half a length"),
        pytest.param(behind(encoded(b"x"), b""), b"", "0 elements", id="no element"),
        pytest.param(behind(encoded(b"x"), b"\2\0\0\0x"), b"\2\0\0\0x", "longer than the tensor", id="half an element"),
        pytest.param(
            behind(encoded(b"x"), b"\xff\xff\xff\xffx"), b"\xff\xff\xff\xffx", "longer than the tensor", id="4 GiB"
        ),
        pytest.param(behind(encoded(b"x"), elements(b"x", b"y")), elements(b"x", b"y"), "more elements", id="one more"),
        pytest.param(behind(encoded(b"x", b"y"), elements(b"x")), elements(b"x"), "1 elements", id="one less"),
    ],
)
def test_a_request_with_binary_data_that_do_not_fit(
    url: str, tensor: dict[str, Any], data: bytes, message: str
) -> None:
    assert message in error(infer_binary(url, {"inputs": [tensor]}, data), 400)


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999999", "ten", "70000"])
def test_a_header_length_that_is_none(url: str, length: str) -> None:
    response = infer(url, {"inputs": [image(1)]}, **{"Inference-Header-Content-Length": length})
    assert "Inference-Header-Content-Length" in error(response, 400)


@pytest.mark.parametrize(
    ("coding", "body", "status", "message"),
    [
        ("br", b"x", 400, "'br' is not understood"),
        ("gzip, gzip", b"x", 400, "is not understood"),
        ("gzip", b"no gzip", 400, "not gzip"),
        ("deflate", gzip.compress(b"{}"), 400, "not deflate"),
        ("gzip", gzip.compress(b"{}" * 99)[:-9], 400, "not whole gzip"),
        ("gzip", gzip.compress(b"{}") + b"more", 400, "not gzip"),
        ("gzip", gzip.compress(bytes(300_001)), 413, "over the limit of 300000"),
        ("deflate", zlib.compress(bytes(100_000_000)), 413, "over the limit of 300000"),
        ("gzip", gzip.compress(bytes(200_000)) + gzip.compress(bytes(200_000)), 413, "over the limit of 300000"),
    ],
)
def test_a_compressed_body_that_cannot_be_read(url: str, coding: str, body: bytes, status: int, message: str) -> None:
    assert message in error(infer(url, body, **{"Content-Encoding": coding}), status)


def test_what_is_not_there(url: str) -> None:
    request = {"inputs": [image(1)]}
    assert "only brightness:3" in error(infer(url, request, "/v2/models/resnet50/infer"), 404)
    assert "brightness:4" in error(infer(url, request, "/v2/models/brightness/versions/4/infer"), 404)
    for path in ("/v2/models", "/v2/nothing", "/v2/models/brightness/versions"):
        error(httpx.get(url + path), 404)
    error(httpx.get(url + PATH), 405)


def test_after_all_that_the_next_is_answered(url: str) -> None:
    assert greys(infer(url, {"inputs": [image(50)], "parameters": {"timeout": 10_000_000, "priority": 1}})) == [50]


def test_a_timeout_is_in_microseconds_and_only_shortens_the_services_own() -> None:
    gate = Gate()

    async def main() -> None:
        tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [0] * 192}
        async with running(FakeEngine(gate), request_timeout_ms=400) as (_, client):
            for timeout, least_s, most_s in ((200_000, 0.15, 0.39), (60_000_000, 0.35, 10), (0, 0.35, 10)):
                started = asyncio.get_running_loop().time()
                request = {"inputs": [tensor], "parameters": {"timeout": timeout}}
                error(await client.post("/v2/models/fake/infer", json=request), 504)
                assert least_s < asyncio.get_running_loop().time() - started < most_s
            gate.opened.set()

    asyncio.run(main())


def test_a_full_queue_says_when_to_come_back_and_who_hangs_up_leaves_it() -> None:
    gate = Gate()

    async def main() -> None:
        body = pixels(1)[:, :8, :8].tobytes()
        tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": list(body)}
        engine = FakeEngine(gate)
        async with running(engine, queue_capacity=1, max_images_per_request=1) as (app, client):
            calls = [asyncio.create_task(client.post("/v2/models/fake/infer", json={"inputs": [tensor]}))]
            await soon(lambda: engine.batches == [1])
            calls.append(asyncio.create_task(client.post("/v2/models/fake/infer", json={"inputs": [tensor]})))
            await soon(lambda: app.state.lifecycle.model.backend.depth == 1)
            refused = await client.post("/v2/models/fake/infer", json={"inputs": [tensor]})
            assert "1 of 1 places" in error(refused, 429)
            assert int(refused.headers["retry-after"]) >= 1
            gate.opened.set()
            assert [greys(response) for response in await asyncio.gather(*calls)] == [[1], [1]]

    asyncio.run(main())


def test_a_failed_engine_is_500_and_says_nothing_of_the_inside() -> None:
    def raises(_: object) -> Any:
        raise RuntimeError("CUDA error 700")

    async def main() -> None:
        tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [0] * 192}
        async with running(FakeEngine(raises)) as (_, client):
            message = error(await client.post("/v2/models/fake/infer", json={"inputs": [tensor]}), 500)
            assert message == "inference failed; the log has the cause under this id"

    asyncio.run(main())


def test_where_keys_are_set_the_protocol_needs_one_too_but_not_its_health(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a-key-of-sixteen-characters\n")

    async def main() -> None:
        async with running(FakeEngine(), api_keys_file=tmp_path / "keys") as (_, client):
            for path in ("/v2", "/v2/models/fake", "/v2/models/fake/config"):
                assert "API key" in error(await client.get(path), 401)
            error(await client.post("/v2/models/fake/infer", content=json.dumps({})), 401)
            for path in ("/v2/health/live", "/v2/health/ready"):
                assert (await client.get(path)).status_code == 200
            key = {"Authorization": "Bearer a-key-of-sixteen-characters"}
            assert (await client.get("/v2/models/fake", headers=key)).status_code == 200

    asyncio.run(main())
