"""What every failure must look like (RFC 9457)."""

from __future__ import annotations

import httpx

from service.errors import ServiceError


def titles(kind: type[ServiceError] = ServiceError) -> dict[int, set[str]]:
    """Return the titles of each status in the error hierarchy, in lower case."""
    found: dict[int, set[str]] = {kind.status: {kind.title.lower()}}
    for child in kind.__subclasses__():
        for status, some in titles(child).items():
            found.setdefault(status, set()).update(some)
    return found


def assert_problem(response: httpx.Response, status: int) -> str:
    """Check a problem document and its headers; return its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert set(document) == {"title", "status", "detail", "request_id"}
    assert document["status"] == status
    if status in titles():
        assert document["title"].lower() in titles()[status]
    assert document["request_id"] == response.headers["x-request-id"]
    assert ("retry-after" in response.headers) == (status in (429, 503))
    if status in (429, 503):
        assert int(response.headers["retry-after"]) >= 1
    detail: str = document["detail"]
    assert detail
    return detail
