"""`POST /classify` on a real server: what it takes, what it answers, what it refuses and how."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.api.greys import grey, in_base64, top, uploads
from tests.service.api.problems import assert_problem
from tests.service.conftest import LIMITS

CORRUPT = grey(10, "PNG")[:-30]


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield client


# --- answers ---


def test_answers_with_the_model_and_the_most_probable_classes(client: httpx.Client) -> None:
    response = client.post("/classify", content=grey(137))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["model"] == {"name": "brightness", "version": "3", "precision": "fp32", "weights": "made by hand"}
    predictions = answer["predictions"]
    assert len(predictions) == 5
    assert predictions[0].pop("probability") == pytest.approx(0.564, abs=0.001)  # 1 / Σ exp(-i²)
    assert predictions[0] == {"index": 137, "wnid": None, "label": "grey 137"}
    assert {prediction["index"] for prediction in predictions} == {135, 136, 137, 138, 139}
    probabilities = [prediction["probability"] for prediction in predictions[1:]]
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"])
def test_understands_every_format(client: httpx.Client, image_format: str) -> None:
    assert top(client.post("/classify", content=grey(64, image_format)).json()["predictions"]) == 64


@pytest.mark.parametrize(
    "content_type", [None, "image/png", "image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded"]
)
def test_the_bytes_say_what_the_image_is_whatever_its_content_type(
    client: httpx.Client, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = client.post("/classify", content=grey(80), headers=headers)
    assert top(response.json()["predictions"]) == 80


def test_curl_without_any_options_works(url: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(grey(91, "JPEG"))
    command = ["curl", "--silent", "--show-error", "--fail", "--data-binary", f"@{photo}", f"{url}/classify"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert '"label": "grey 91"' in answer


def test_takes_multipart_with_one_file_whatever_its_field_is_called(client: httpx.Client) -> None:
    for field in ("image", "file", "upload"):
        response = client.post("/classify", files={field: ("a.png", grey(12), "image/png")}, data={"note": "hello"})
        assert top(response.json()["predictions"]) == 12


def test_takes_json_with_base64(client: httpx.Client) -> None:
    response = client.post("/classify", json={"image": in_base64(grey(13))})
    assert top(response.json()["predictions"]) == 13


def test_takes_a_body_in_chunks_without_a_content_length(client: httpx.Client) -> None:
    body = grey(14, "BMP", (200, 200))

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 7000):
            yield body[start : start + 7000]

    response = client.post("/classify", content=chunks())
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert top(response.json()["predictions"]) == 14


def test_says_where_the_time_went(client: httpx.Client) -> None:
    response = client.post("/classify", content=grey(15))
    entries = re.fullmatch(
        r"decode;dur=(\d+\.\d+), queue;dur=(\d+\.\d+), inference;dur=(\d+\.\d+)", response.headers["server-timing"]
    )
    assert entries
    total_ms = sum(map(float, entries.groups()))
    assert 0 < total_ms < response.elapsed.total_seconds() * 1000


def test_concurrent_callers_get_their_own_answers(url: str) -> None:
    wrong: list[tuple[int, int]] = []

    def ask(first: int) -> None:
        with httpx.Client(base_url=url) as client:
            for level in range(first, 256, 8):
                found = top(client.post("/classify", content=grey(level)).json()["predictions"])
                if found != level:
                    wrong.append((level, found))

    threads = [threading.Thread(target=ask, args=[first]) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("top_k", [1, 2, 255, 256])
def test_top_k_says_how_many_classes_are_answered(client: httpx.Client, top_k: int) -> None:
    predictions = client.post("/classify", params={"top_k": top_k}, content=grey(100)).json()["predictions"]
    assert len(predictions) == top_k
    assert len({prediction["index"] for prediction in predictions}) == top_k
    assert top(predictions) == 100


# --- refusals ---


@pytest.mark.parametrize("top_k", ["0", "257", "-1", "1.5", "five", "", "1e2", "٣", "9" * 5000])
def test_a_top_k_out_of_range_is_422(client: httpx.Client, top_k: str) -> None:
    detail = assert_problem(client.post("/classify", params={"top_k": top_k}, content=grey(1)), 422)
    assert "1 to 256" in detail


def test_an_empty_body_is_400(client: httpx.Client) -> None:
    assert "empty" in assert_problem(client.post("/classify", content=b""), 400)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"no boundary is named"),
        ("multipart/form-data; boundary=x", b"--y\r\nnot ours\r\n--y--"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\ntext\r\n--x--\r\n',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nnameless\r\n--x--\r\n"),
        ("application/json", b"{"),
        ("application/json", b"\xff\xfe"),
        ("application/json", b"[]"),
        ("application/json", b"{}"),
        ("application/json", b'{"image": 5}'),
        ("application/json", b'{"image": "a", "more": 1}'),
        ("application/json; charset=utf-8", b'{"image": "not base64!"}'),
    ],
)
def test_a_malformed_envelope_is_400(client: httpx.Client, content_type: str, body: bytes) -> None:
    assert_problem(client.post("/classify", content=body, headers={"Content-Type": content_type}), 400)


def test_two_files_where_one_is_asked_for_are_refused(client: httpx.Client) -> None:
    assert "1" in assert_problem(client.post("/classify", files=uploads(grey(1), grey(2))), 413)


def test_an_empty_image_in_json_is_an_image_of_no_format(client: httpx.Client) -> None:
    assert client.post("/classify", json={"image": ""}).status_code in (400, 415)


@pytest.mark.parametrize("body", [b"hello", b"\0" * 1000, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n"])
def test_what_is_not_an_image_is_415(client: httpx.Client, body: bytes) -> None:
    assert_problem(client.post("/classify", content=body), 415)


@pytest.mark.parametrize("image_format", ["ICO", "PPM", "TGA", "ICNS"])
def test_a_format_that_is_not_allowed_is_415(client: httpx.Client, image_format: str) -> None:
    assert_problem(client.post("/classify", content=grey(1, image_format, (64, 64))), 415)


def test_a_truncated_image_is_422(client: httpx.Client) -> None:
    assert_problem(client.post("/classify", content=CORRUPT), 422)


def test_too_many_pixels_are_413(client: httpx.Client) -> None:
    body = grey(1, "PNG", (1001, 1000))
    assert len(body) < LIMITS["max_body_bytes"]
    assert_problem(client.post("/classify", content=body), 413)


def test_an_unknown_path_is_404(client: httpx.Client) -> None:
    assert_problem(client.post("/classify/nothing", content=grey(1)), 404)
    assert_problem(client.get("/nothing"), 404)


@pytest.mark.parametrize("path", ["/classify", "/classify/batch"])
def test_other_methods_are_405_and_say_what_is_allowed(client: httpx.Client, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        response = client.request(method, path)
        assert_problem(response, 405)
        assert response.headers["allow"] == "POST"
    head = client.head(path, timeout=2)  # at once, though no body follows
    assert (head.status_code, head.content) == (405, b"")
