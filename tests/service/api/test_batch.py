"""`POST /classify/batch` on a real server: several images, each answered for itself."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.errors import BadRequest, CorruptImage, TooLarge, UnsupportedImage
from tests.service.api.greys import grey, in_base64, top, uploads
from tests.service.api.problems import assert_problem
from tests.service.conftest import LIMITS

MOST = LIMITS["max_images_per_request"]


def post(url: str, *files: bytes | tuple[str, bytes], **parameters: Any) -> httpx.Response:
    return httpx.post(f"{url}/classify/batch", files=uploads(*files), params=parameters)


def test_each_file_is_answered_in_the_order_sent(url: str) -> None:
    levels = [200, 3, 77, 3, 145]
    response = post(url, *map(grey, levels))
    assert response.status_code == 200
    answer = response.json()
    assert answer["model"]["name"] == "brightness"
    assert [top(result["predictions"]) for result in answer["results"]] == levels
    assert [result["filename"] for result in answer["results"]] == [f"{index}.png" for index in range(5)]
    assert {len(result["predictions"]) for result in answer["results"]} == {5}
    assert "inference;dur=" in response.headers["server-timing"]


def test_more_images_than_fit_a_batch_are_split_and_put_together_again(url: str) -> None:
    levels = [(index * 37) % 256 for index in range(MOST)]
    assert 2 * LIMITS["max_batch_size"] < MOST
    results = post(url, *map(grey, levels)).json()["results"]
    assert [top(result["predictions"]) for result in results] == levels


def test_a_bad_image_harms_none_of_the_others(url: str) -> None:
    big = grey(1, "PNG", (1001, 1000))
    results = post(url, grey(10), ("notes.txt", b"hello"), grey(20), grey(30)[:-40], big, b"", grey(40)).json()[
        "results"
    ]
    assert [top(result["predictions"]) for result in results if "predictions" in result] == [10, 20, 40]
    found = {index: result["problem"] for index, result in enumerate(results) if "problem" in result}
    expected = {1: UnsupportedImage, 3: CorruptImage, 4: TooLarge, 5: BadRequest}
    assert {index: (one["status"], one["title"]) for index, one in found.items()} == {
        index: (kind.status, kind.title) for index, kind in expected.items()
    }
    assert all(problem["detail"] for problem in found.values())
    assert results[1]["filename"] == "notes.txt"


def test_where_every_image_is_bad_the_answer_still_says_what_is_wrong_with_each(url: str) -> None:
    response = post(url, b"one", b"two")
    assert response.status_code == 200
    assert [result["problem"]["status"] for result in response.json()["results"]] == [415, 415]


def test_json_with_base64_is_understood(url: str) -> None:
    response = httpx.post(f"{url}/classify/batch", json={"images": [in_base64(grey(level)) for level in (9, 8)]})
    results = response.json()["results"]
    assert [top(result["predictions"]) for result in results] == [9, 8]
    assert [result["filename"] for result in results] == [None, None]


def test_file_names_come_back_as_they_were_whatever_is_in_them(url: str) -> None:
    names = ["it's.png", "Füße.png", "犬.png", "back\\slash.png", "<script>.png"]
    results = post(url, *[(name, grey(5)) for name in names]).json()["results"]
    assert [result["filename"] for result in results] == names


def test_top_k_holds_for_every_image(url: str) -> None:
    results = post(url, grey(1), grey(2), top_k=3).json()["results"]
    assert [len(result["predictions"]) for result in results] == [3, 3]
    assert_problem(post(url, grey(1), top_k=0), 422)


def test_more_images_than_allowed_are_413(url: str) -> None:
    assert str(MOST) in assert_problem(post(url, *[grey(1)] * (MOST + 1)), 413)
    assert str(MOST) in assert_problem(post(url, *[grey(1)] * (MOST + 5)), 413)
    many = {"images": [in_base64(grey(1))] * (MOST + 1)}
    assert str(MOST) in assert_problem(httpx.post(f"{url}/classify/batch", json=many), 413)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("image/png", grey(1)),
        ("application/octet-stream", grey(1)),
        ("application/json", b'{"images": []}'),
        ("application/json", b'{"images": "a"}'),
        ("application/json", b'{"image": "a"}'),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data", b""),
    ],
)
def test_what_is_not_several_images_is_400(url: str, content_type: str, body: bytes) -> None:
    response = httpx.post(f"{url}/classify/batch", content=body, headers={"Content-Type": content_type})
    assert_problem(response, 400)
