"""`X-Request-ID`: on every answer, the client's own where it is sensible."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.service.api.greys import grey

PATHS = [("POST", "/classify"), ("POST", "/classify/batch"), ("GET", "/healthz"), ("GET", "/nothing"), ("GET", "/docs")]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_answer_has_one_and_no_two_have_the_same(url: str, method: str, path: str) -> None:
    ids = [httpx.request(method, f"{url}{path}", content=grey(1)).headers.get_list("x-request-id") for _ in range(2)]
    assert all(len(found) == 1 and re.fullmatch("[0-9a-f]{32}", found[0]) for found in ids)
    assert ids[0] != ids[1]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("sent", ["a", "0af7651916cd43dd8448eb211c80319c", "order-17/photo_3:1.jpg+x=@home", "x" * 128])
def test_a_clients_own_is_echoed(url: str, method: str, path: str, sent: str) -> None:
    response = httpx.request(method, f"{url}{path}", content=grey(1), headers={"X-Request-ID": sent})
    assert response.headers.get_list("x-request-id") == [sent]
    if response.status_code >= 400:
        assert response.json()["request_id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "two words", 'quo"te', "semi;colon", "<b>", "caf\xe9", "tab\there"])
def test_one_that_could_do_harm_is_replaced(url: str, sent: str) -> None:
    headers = {b"X-Request-ID": sent.encode("latin-1")}
    response = httpx.post(f"{url}/classify", content=b"no image", headers=headers)
    (answered,) = response.headers.get_list("x-request-id")
    assert re.fullmatch("[0-9a-f]{32}", answered)
    assert response.json()["request_id"] == answered
