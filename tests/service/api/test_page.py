"""`GET /`: the page and its files, and what browsers are told about them. tests/browser uses it."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT

WEB = ROOT / "service" / "web"
PATHS = ["/", *(f"/web/{path.name}" for path in sorted(WEB.iterdir()) if path.suffix not in (".html",))]


@pytest.mark.parametrize("path", PATHS)
def test_every_file_of_the_page_is_served_as_it_is(url: str, path: str) -> None:
    response = httpx.get(f"{url}{path}")
    file = WEB / (path.rpartition("/")[2] or "index.html")
    assert (response.status_code, response.content) == (200, file.read_bytes())
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    assert response.headers["content-type"].split(";")[0] == kinds.get(file.suffix, "image/jpeg")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    head = httpx.head(f"{url}{path}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(response.content))


def test_the_page_may_do_nothing_but_what_it_does(url: str) -> None:
    headers = httpx.get(url).headers
    policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split(";")}
    assert policy["default-src"] == ["'none'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert not {source for sources in policy.values() for source in sources} - {"'none'", "'self'", "blob:", "'script'"}
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"


def test_a_browser_that_has_a_file_is_not_sent_it_again(url: str) -> None:
    first = httpx.get(f"{url}/web/page.css")
    assert first.headers["cache-control"] == "no-cache"
    for tags in (first.headers["etag"], f'"other", W/{first.headers["etag"]}'):
        again = httpx.get(f"{url}/web/page.css", headers={"If-None-Match": tags})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    assert httpx.get(f"{url}/web/page.css", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/web/", "/web/../settings.py", "/web/%2e%2e/settings.py", "/web/index.htm", "/web//"]
)
def test_no_other_file_is_served(url: str, path: str) -> None:
    assert httpx.get(f"{url}{path}").status_code == 404


@pytest.mark.parametrize("path", sorted(WEB.glob("*.*")), ids=lambda path: path.name)
def test_nothing_of_it_names_another_host(path: Path) -> None:
    if path.suffix != ".jpg":
        found = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text())
        assert set(found) <= {"http://www.w3.org"}  # a namespace, which nobody fetches
