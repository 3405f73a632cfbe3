"""What can be asked of `/v2/models/…/infer`, and how it is answered."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from typing import Any

import httpx
import numpy as np
import pytest

from tests.service.api.greys import grey, in_base64
from tests.service.api.oip.requests import (
    PATH,
    behind,
    elements,
    encoded,
    greys,
    image,
    infer,
    infer_binary,
    output,
    pixels,
    rows,
)


def classified(url: str, *files: bytes) -> list[list[dict[str, Any]]]:
    """Return what /classify/batch says of the same images: all classes, with their probabilities."""
    response = httpx.post(f"{url}/classify/batch?top_k=256", json={"images": [in_base64(file) for file in files]})
    return [result["predictions"] for result in response.raise_for_status().json()["results"]]


LEVELS = (7, 200, 100)
FILES = tuple(grey(level) for level in LEVELS)
PIXELS = pixels(*LEVELS).tobytes()


def test_every_way_of_sending_images_is_answered_as_classify_answers_them(url: str) -> None:
    flat = image(*LEVELS) | {"data": list(PIXELS)}
    ways = {
        "pixels, nested": infer(url, {"inputs": [image(*LEVELS)]}),
        "pixels, flat": infer(url, {"inputs": [flat]}),
        "pixels, binary": infer_binary(url, {"inputs": [behind(flat, PIXELS)]}, PIXELS),
        "files, base64": infer(url, {"inputs": [encoded(*FILES)]}),
        "files, nested": infer(
            url, {"inputs": [encoded(*FILES, shape=[3, 1], data=[[in_base64(file)] for file in FILES])]}
        ),
        "files, binary": infer_binary(url, {"inputs": [behind(encoded(*FILES), elements(*FILES))]}, elements(*FILES)),
    }
    expected = np.zeros((3, 256), np.float32)
    for row, predictions in zip(expected, classified(url, *FILES), strict=True):
        for prediction in predictions:
            row[prediction["index"]] = prediction["probability"]
    for way, response in ways.items():
        assert greys(response) == list(LEVELS), way
        # Bit by bit the same would take the same batches; /classify gives seven digits.
        assert np.allclose(rows(response), expected, rtol=1e-5, atol=1e-7), way


@pytest.mark.parametrize("count", [1, 12])
def test_one_image_and_as_many_as_are_allowed(url: str, count: int) -> None:
    levels = [20 * index for index in range(count)]
    assert greys(infer(url, {"inputs": [image(*levels)]})) == levels
    assert greys(infer(url, {"inputs": [encoded(*map(grey, levels))]})) == levels


def test_the_whole_body_is_one_file_where_the_header_says_that_there_is_no_json(url: str) -> None:
    response = infer(url, grey(77), **{"Inference-Header-Content-Length": "0"})
    assert greys(response) == [77]
    assert isinstance(output(response)["data"], bytes)


def test_a_version_may_be_named_and_the_answer_says_which_it_was(url: str) -> None:
    for path in (PATH, "/v2/models/brightness/versions/3/infer"):
        answer = infer(url, {"inputs": [image(1)]}, path).json()
        assert (answer["model_name"], answer["model_version"]) == ("brightness", "3")


def test_an_id_is_given_back_and_none_is_made_up(url: str) -> None:
    assert infer(url, {"id": "4é2", "inputs": [image(1)]}).json()["id"] == "4é2"
    assert "id" not in infer(url, {"inputs": [image(1)]}).json()


@pytest.mark.parametrize(
    ("everything", "this_one", "binary"),
    [
        (None, None, False),
        (True, None, True),
        (False, None, False),
        (None, True, True),
        (True, False, False),
        (False, True, True),
    ],
)
def test_binary_answers_are_asked_for_once_for_all_or_of_the_output(
    url: str, everything: bool | None, this_one: bool | None, binary: bool
) -> None:
    request: dict[str, Any] = {"inputs": [image(9)], "outputs": [{"name": "probabilities"}]}
    if everything is not None:
        request["parameters"] = {"binary_data_output": everything}
    if this_one is not None:
        request["outputs"][0]["parameters"] = {"binary_data": this_one}
    response = infer(url, request)
    assert isinstance(output(response)["data"], bytes) == binary
    assert greys(response) == [9]


def test_probabilities_in_json_are_to_the_last_bit_those_in_binary(url: str) -> None:
    response = infer(url, {"inputs": [image(9)]})
    exact = infer(url, {"inputs": [image(9)], "parameters": {"binary_data_output": True}})
    assert rows(response).tobytes() == rows(exact).tobytes()


def test_classes_instead_of_probabilities(url: str) -> None:
    parameters = {"classification": 3}
    request = {"inputs": [image(9, 100)], "outputs": [{"name": "probabilities", "parameters": parameters}]}
    found = output(infer(url, request))
    assert (found["datatype"], found["shape"]) == ("BYTES", [2, 3])
    expected = [
        f"{prediction['probability']:.7g}:{prediction['index']}:{prediction['label']}"
        for predictions in classified(url, grey(9), grey(100))
        for prediction in predictions[:3]
    ]
    assert found["data"] == expected
    assert expected[0].endswith(":9:grey 9")
    parameters["binary_data"] = True
    found = output(infer(url, request))
    assert (found["datatype"], found["shape"]) == ("BYTES", [2, 3])
    data, names = found["data"], []
    while data:
        (length,) = struct.unpack_from("<I", data)
        names.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    assert names == expected


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity", "GZIP"])
def test_a_body_may_be_compressed_and_the_header_still_counts_its_json_before_that(url: str, coding: str) -> None:
    compress = {"gzip": gzip.compress, "deflate": zlib.compress}.get(coding.lower(), bytes)
    text = json.dumps({"inputs": [behind(image(5, 6), pixels(5, 6).tobytes())]}).encode()
    body = compress(text + pixels(5, 6).tobytes())
    headers = {"Content-Encoding": coding, "Inference-Header-Content-Length": str(len(text))}
    assert greys(infer(url, body, **headers)) == [5, 6]
    assert greys(infer(url, compress(json.dumps({"inputs": [image(3)]}).encode()), **{"Content-Encoding": coding})) == [
        3
    ]


def test_gzip_may_have_several_members(url: str) -> None:
    text = json.dumps({"inputs": [image(3)]}).encode()
    body = gzip.compress(text[:100]) + gzip.compress(text[100:])
    assert greys(infer(url, body, **{"Content-Encoding": "gzip"})) == [3]


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, deflate;q=0.5", "deflate"),
        ("gzip;q=0, deflate", "deflate"),
        ("identity", None),
        ("", None),
        ("br", None),
    ],
)
def test_an_answer_is_compressed_as_its_client_accepts_it(url: str, accepted: str, coding: str | None) -> None:
    response = infer(url, {"inputs": [image(9)]}, **{"Accept-Encoding": accepted})
    assert response.headers.get("content-encoding") == coding
    assert greys(response) == [9]
    if coding:
        assert response.headers["vary"] == "Accept-Encoding"
        assert int(response.headers["content-length"]) < len(response.content)
        request = {"inputs": [image(9)], "outputs": [{"name": "probabilities", "parameters": {"classification": 1}}]}
        short = infer(url, request, **{"Accept-Encoding": accepted})
        assert "content-encoding" not in short.headers  # nothing would be won


def test_what_is_not_known_is_ignored(url: str) -> None:
    request = {
        "inputs": [image(9, parameters={"content_type": "np"}, mystery=[[{}]])],
        "parameters": {"sequence_id": 5, "x": "y", "z": None, "f": 0.5},
        "mystery": [1, {"a": []}],
    }
    assert greys(infer(url, request)) == [9]


def test_where_the_time_went_is_said(url: str) -> None:
    assert infer(url, {"inputs": [image(1)]}).headers["server-timing"].startswith("decode;dur=")
