"""The OpenAPI document says all that a client needs, and /docs shows it without the internet."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

CLASSIFY, BATCH, HEALTH = ("/classify", "post"), ("/classify/batch", "post"), ("/healthz", "get")


@pytest.fixture(scope="module")
def document(url: str) -> dict[str, Any]:
    return httpx.get(f"{url}/openapi.json").raise_for_status().json()  # type: ignore[no-any-return]


def operation(document: dict[str, Any], which: tuple[str, str]) -> dict[str, Any]:
    return document["paths"][which[0]][which[1]]  # type: ignore[no-any-return]


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = document["components"]["schemas"][name]
    return schema


def test_every_route_is_there(document: dict[str, Any]) -> None:
    expected = {CLASSIFY, BATCH, HEALTH, ("/readyz", "get"), ("/livez", "get")}
    found = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert expected <= found
    assert document["info"]["title"] == "resnet-serve"


def test_every_operation_is_told_in_words(document: dict[str, Any]) -> None:
    for methods in document["paths"].values():
        for found in methods.values():
            assert found["summary"]
            assert found["tags"]
            assert all(response["description"] for response in found["responses"].values())


def test_every_operation_has_an_id_of_its_own_for_generated_clients(document: dict[str, Any]) -> None:
    ids = [found["operationId"] for methods in document["paths"].values() for found in methods.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("which", [CLASSIFY, BATCH])
def test_top_k_is_described_with_its_bounds(document: dict[str, Any], which: tuple[str, str]) -> None:
    (top_k,) = [one for one in operation(document, which)["parameters"] if one["name"] == "top_k"]
    assert (top_k["in"], top_k.get("required", False)) == ("query", False)
    assert top_k["description"]
    assert top_k["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 5}


@pytest.mark.parametrize(
    ("which", "kinds"),
    [
        (CLASSIFY, {"image/*", "application/octet-stream", "multipart/form-data", "application/json"}),
        (BATCH, {"multipart/form-data", "application/json"}),
    ],
)
def test_every_kind_of_body_is_described(document: dict[str, Any], which: tuple[str, str], kinds: set[str]) -> None:
    body = operation(document, which)["requestBody"]
    assert body["required"]
    assert set(body["content"]) == kinds
    assert all(kind["schema"] for kind in body["content"].values())


@pytest.mark.parametrize(
    ("which", "statuses"),
    [(CLASSIFY, {400, 404, 413, 415, 422, 429, 500, 503, 504}), (BATCH, {400, 404, 413, 422, 429, 500, 503, 504})],
)
def test_every_failure_is_a_problem_document_with_an_example(
    document: dict[str, Any], which: tuple[str, str], statuses: set[int]
) -> None:
    responses = operation(document, which)["responses"]
    assert {int(status) for status in responses} == statuses | {200}
    for status in statuses:
        response = responses[str(status)]
        assert set(response["content"]) == {"application/problem+json"}
        content = response["content"]["application/problem+json"]
        schema = resolved(document, content["schema"])
        assert {"title", "status", "detail", "request_id"} <= set(schema["properties"])
        assert content["example"]["status"] == status
        assert ("Retry-After" in response.get("headers", {})) == (status in (429, 503))


@pytest.mark.parametrize("which", [CLASSIFY, BATCH, HEALTH])
def test_a_success_has_an_example_of_its_own_shape(document: dict[str, Any], which: tuple[str, str]) -> None:
    content = operation(document, which)["responses"]["200"]["content"]["application/json"]
    schema = resolved(document, content["schema"])
    example = content.get("example") or schema["example"]
    assert set(schema.get("required", [])) <= set(example) <= set(schema["properties"])


def test_the_docs_page_fetches_nothing_from_anywhere_else(url: str) -> None:
    for page in ("/docs", "/redoc"):
        response = httpx.get(f"{url}{page}")
        assert response.status_code == 200
        references = _References()
        references.feed(response.text)
        assert references.found
        for reference in {*references.found, *re.findall(r"""url:\s*['"]([^'"]+)""", response.text)}:
            address = urljoin(f"{url}{page}", reference)
            if urlsplit(address).scheme != "data":
                assert urlsplit(address).netloc == urlsplit(url).netloc, reference
                assert httpx.get(address).status_code == 200, reference
        assert not re.search(r"https?://(?!127\.0\.0\.1)[\w.-]*(cdn|googleapis|jsdelivr|unpkg)", response.text)


class _References(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        wanted = {"script": "src", "link": "href", "img": "src"}.get(tag)
        self.found |= {value for name, value in attributes if name == wanted and value}
