"""Keeping people out: keys, a port for management, origins, proxies, pages; and what must never be written down."""

from __future__ import annotations

import base64
import logging
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Scope

from service.api.access import check_key
from service.errors import Unauthorized
from service.keys import Keys
from tests.service.api.greys import grey, top
from tests.service.api.problems import assert_problem
from tests.service.apps import FakeEngine, eventually, served
from tests.service.scrapes import Scrape
from tests.service.serving import MAINLY_SEVERAL, SHAPES, Service, serving

ORIGIN = "https://shop.example"
HEALTH = ("/livez", "/readyz", "/healthz")
KEY = secrets.token_hex(16)


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(f"{KEY}\n")
    return path


@pytest.fixture(scope="module", params=MAINLY_SEVERAL)
def guarded(request: pytest.FixtureRequest, artifacts: Path, keys_file: Path) -> Iterator[Service]:
    """The real service with all that keeps people out, telling all that it ever tells."""
    arguments = ("--api-keys-file", str(keys_file), "--cors-origins", ORIGIN, "--log-level", "debug", "--access-log")
    with serving(artifacts, *arguments, *request.param) as service:
        yield service


@pytest.fixture(scope="module")
def open_url() -> Iterator[str]:
    """A service without any of that, in this process."""
    with served(FakeEngine()) as url:
        yield url


def classify(url: str, headers: dict[str, str] | None = None, level: int = 5) -> httpx.Response:
    return httpx.post(f"{url}/classify", content=grey(level), headers=headers)


# --- keys ---


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}, {"X-API-Key": KEY}]
)
def test_who_has_a_key_is_answered(guarded: Service, headers: dict[str, str]) -> None:
    assert top(classify(guarded.url, headers).json()["predictions"]) == 5


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer"},
        {"Authorization": KEY},
        {"X-API-Key": ""},
        {"X-API-Key": KEY[:-1]},
        {"X-API-Key": f"Bearer {KEY}"},
        {"Authorization": f"Bearer {KEY}, {KEY}"},
    ],
)
def test_who_has_none_is_told_how_to_send_one(guarded: Service, headers: dict[str, str]) -> None:
    response = classify(guarded.url, headers)
    assert_problem(response, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert KEY not in response.text


def test_who_has_no_valid_key_is_counted_before_being_told(guarded: Service) -> None:
    def unauthorized() -> float:
        text = httpx.get(f"{guarded.url}/metrics", headers={"X-API-Key": KEY}).raise_for_status().text
        return Scrape(text).get("resnet_requests_total", endpoint="/classify", outcome="unauthorized")

    before = unauthorized()
    for number, headers in enumerate(({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}), 1):
        assert classify(guarded.url, headers).status_code == 401
        assert unauthorized() == before + number


def asked_as_written(service: Service, path: str) -> int:
    """Return the status of a path that clients would tidy up before they send it."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return int(connection.recv(4096).split()[1])


def test_only_probes_and_pages_are_open(guarded: Service) -> None:
    with httpx.Client(base_url=guarded.url) as client:
        for path in (*HEALTH, "/docs", "/redoc", "/openapi.json"):
            assert client.get(path).status_code == 200, path
        script = re.search(r'src="(/static[^"]+)"', client.get("/docs").text)
        assert script is not None
        assert client.get(script[1]).status_code == 200
        for path in ("/classify", "/nothing", "/docs/", "/livez/", "/static-offline-docs", "/web", "/v2/health"):
            assert client.get(path).status_code == 401, path
        assert client.put("/classify/batch").status_code == 401
        for path in ("//docs", "/docs/../classify", "/static-offline-docs/../classify", "/web/%2e%2e/classify"):
            assert asked_as_written(guarded, path) in (401, 404), path


def test_the_document_says_what_needs_a_key(guarded: Service, open_url: str) -> None:
    document = httpx.get(f"{guarded.url}/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    assert document["paths"]["/classify"]["post"]["security"] == [{name: []} for name in schemes]
    assert "401" in document["paths"]["/classify"]["post"]["responses"]
    assert "security" not in document["paths"]["/healthz"]["get"]
    assert "securitySchemes" not in httpx.get(f"{open_url}/openapi.json").json()["components"]  # where no keys are set


def test_keys_are_rotated_without_a_restart(guarded: Service, keys_file: Path) -> None:
    other = secrets.token_hex(16)
    keys_file.write_text(f"{other}\n{KEY}\n")
    try:
        assert eventually(lambda: all(classify(guarded.url, {"X-API-Key": other}).is_success for _ in range(8)), 5)
    finally:
        keys_file.write_text(f"{KEY}\n")
    assert eventually(lambda: not any(classify(guarded.url, {"X-API-Key": other}).is_success for _ in range(8)), 5)
    assert classify(guarded.url, {"X-API-Key": KEY}).status_code == 200


def test_what_needs_a_key_in_any_case_needs_one_where_there_are_none(tmp_path: Path) -> None:
    """What a route for administration asks for itself."""

    def scope(*headers: tuple[bytes, bytes]) -> Scope:
        return {"type": "http", "headers": list(headers)}

    (tmp_path / "keys").write_text(KEY)
    check_key(Keys(tmp_path / "keys"), scope((b"x-api-key", KEY.encode())))
    for keys in (None, Keys(tmp_path / "keys")):
        for headers in ([], [(b"x-api-key", b"another one altogether")]):
            with pytest.raises(Unauthorized):
                check_key(keys, scope(*headers))
    with pytest.raises(Unauthorized):
        check_key(None, scope((b"x-api-key", KEY.encode())))


def test_neither_keys_nor_image_bytes_are_ever_written_down(guarded: Service) -> None:
    wrong = secrets.token_hex(16)
    marker = secrets.token_bytes(24)
    told = ""
    bodies = [grey(3)[:60] + marker, b"\xff\xd8\xff" + marker, b"II*\0" + marker * 9, b"GIF89a" + marker, marker]
    bodies += [b"RIFF\x40\0\0\0WEBPVP8 " + marker * 3, b"BM" + bytes(12) + b"\x28\0\0\0" + marker * 3]
    with httpx.Client(base_url=guarded.url) as client:
        for body in bodies:
            for key in (KEY, wrong):
                authorization = {"Authorization": f"Bearer {key}"}
                told += client.post("/classify", content=body, headers=authorization).text
                told += client.post("/classify", files={"image": body}, headers={"X-API-Key": key}).text
                json = {"image": base64.b64encode(body).decode()}
                told += client.post("/classify", json=json, headers=authorization).text
                told += client.post("/classify/batch", content=body, headers=authorization).text
                told += client.request("PUT", "/classify", content=body, headers={"X-API-Key": key}).text
    told += guarded.log
    assert "POST /classify" in told  # the access log is there
    for secret in (KEY, wrong):
        assert secret not in told
    for seen in (marker, marker[:8], marker[-8:]):
        for written in (repr(seen)[2:-1], seen.hex(), base64.b64encode(seen)[:-4].decode(), seen.decode("latin-1")):
            assert written not in told


def test_a_file_of_keys_that_cannot_be_used_is_a_reason_not_to_start(artifacts: Path, tmp_path: Path) -> None:
    for shape in SHAPES.values():
        with (
            pytest.raises(
                AssertionError, match=r"resnet-serve: the file of API keys, \S+, cannot be read: No such file"
            ),
            serving(artifacts, "--api-keys-file", str(tmp_path / "none"), *shape),
        ):
            pass


# --- a port for management ---


@pytest.mark.parametrize("shape", MAINLY_SEVERAL)
def test_health_can_have_a_port_of_its_own(artifacts: Path, keys_file: Path, shape: tuple[str, ...]) -> None:
    arguments = ("--api-keys-file", str(keys_file), "--management-port", "0", *shape)
    with serving(artifacts, *arguments) as service:
        management = service.management
        assert management != service.url
        for path in HEALTH:
            assert httpx.get(f"{management}{path}").status_code == 200
            assert httpx.get(f"{service.url}{path}").status_code in (401, 404)
            assert_problem(httpx.get(f"{service.url}{path}", headers={"X-API-Key": KEY}), 404)
        for path in ("/classify", "/docs", "/openapi.json", "/"):
            assert_problem(httpx.get(f"{management}{path}"), 404)
        assert_problem(httpx.post(f"{management}/classify", content=grey(1), headers={"X-API-Key": KEY}), 404)
        assert classify(service.url, {"X-API-Key": KEY}).status_code == 200


# --- browsers ---


def test_pages_of_other_origins_get_nothing_unless_they_are_named(guarded: Service, open_url: str) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    for origin, named in ((ORIGIN, True), ("https://evil.example", False)):
        asked = httpx.options(f"{guarded.url}/classify", headers={"Origin": origin, **preflight})
        answered = classify(guarded.url, {"Origin": origin, "X-API-Key": KEY})
        assert asked.is_success is named
        for response in (asked, answered):
            assert (response.headers.get("Access-Control-Allow-Origin") == origin) is named
    assert "Retry-After" in classify(guarded.url, {"Origin": ORIGIN}).headers["Access-Control-Expose-Headers"]
    for response in (
        classify(open_url, {"Origin": ORIGIN}),
        httpx.options(f"{open_url}/classify", headers={"Origin": ORIGIN}),
    ):
        assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_pages_load_nothing_from_elsewhere_and_stand_in_nobodys_frame(url: str, path: str) -> None:
    headers = httpx.get(f"{url}{path}").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    assert "http" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"


# --- proxies ---


@pytest.mark.parametrize(
    ("trusted", "client", "seen"),
    [
        ("", "203.0.113.7", "127.0.0.1"),
        ("10.0.0.0/8", "203.0.113.7", "127.0.0.1"),
        ("127.0.0.0/8", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.1,10.0.0.0/8", "198.51.100.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),  # the first is anybody's word
    ],
)
def test_what_a_proxy_says_of_its_client_is_believed_only_of_those_that_are_named(
    trusted: str, client: str, seen: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxies = {"trusted_proxies": trusted} if trusted else {}
    with caplog.at_level(logging.INFO), served(FakeEngine(), access_log=True, log_level="info", **proxies) as url:
        classify(url, {"X-Forwarded-For": client})
    (line,) = [
        record.getMessage()
        for record in caplog.records
        if record.name == "service.access" and "/classify" in record.getMessage()
    ]
    assert line.startswith(f"{seen} ")


# --- nothing is fetched ---


def test_no_image_is_fetched_from_where_a_client_says(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bait:
        there = f"http://127.0.0.1:{bait.getsockname()[1]}/cat.png"
        for body in (
            {"image": there},
            {"image_url": there},
            {"url": there},
            {"image": base64.b64encode(there.encode()).decode()},
        ):
            assert httpx.post(f"{url}/classify", json=body).status_code in (400, 415)
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{there}"/></svg>'
        assert httpx.post(f"{url}/classify", content=svg).status_code == 415
        assert httpx.post(f"{url}/classify", content=there, headers={"Content-Location": there}).status_code == 415
        bait.setblocking(False)
        with pytest.raises(BlockingIOError):
            bait.accept()
