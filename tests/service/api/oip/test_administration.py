"""The model repository over HTTP: seen by everybody, changed by who may."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.service.api.oip.requests import error
from tests.service.apps import running
from tests.service.artefacts import write_brightness
from tests.service.serving import MAINLY_SEVERAL, serving

KEY = "a-key-of-sixteen-characters"


def test_the_index_lists_the_repository(url: str) -> None:
    for body in (b"", b"{}", b'{"ready": true}'):
        index = httpx.post(f"{url}/v2/repository/index", content=body).raise_for_status().json()
        assert index == [{"name": "brightness", "version": "3", "state": "READY", "reason": ""}]
    for body in (b"[", b'{"ready": "yes"}', b"\xff"):
        error(httpx.post(f"{url}/v2/repository/index", content=body), 400)
    error(httpx.post(f"{url}/v2/repository/index", content=bytes(1 << 17)), 413)


@pytest.mark.parametrize("what", ["load", "unload"])
def test_changes_are_off_unless_enabled(url: str, what: str) -> None:
    message = error(httpx.post(f"{url}/v2/repository/models/brightness/{what}"), 403)
    assert "--model-admin" in message


def test_enabling_them_takes_keys(tmp_path: Path) -> None:
    write_brightness(tmp_path)
    command = [sys.executable, "-m", "service", "--artifacts", str(tmp_path), "--model-admin"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "give --api-keys-file as well" in ended.stderr

    async def main() -> None:
        async with running(artifacts=tmp_path, model_admin=True) as (_, client):
            error(await client.post("/v2/repository/models/brightness/load"), 403)

    asyncio.run(main())


@pytest.fixture(params=MAINLY_SEVERAL)
def administered(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A server with `first`, whose models may be changed by who has the key."""
    write_brightness(tmp_path, 1, name="first")
    (tmp_path / "keys").write_text(f"{KEY}\n")
    options = ("--model", "first", "--model-admin", "--api-keys-file", str(tmp_path / "keys"))
    with serving(tmp_path, *options, *request.param) as service:
        yield service.url


def client_of(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}, timeout=30)


def test_with_a_key_models_are_loaded_and_unloaded(administered: str, tmp_path: Path) -> None:
    write_brightness(tmp_path, 2, name="second")

    async def states(client: httpx.AsyncClient, **asked: bool) -> dict[str, str]:
        index = (await client.post("/v2/repository/index", json=asked)).raise_for_status().json()
        return {f"{each['name']}:{each['version']}": each["state"] for each in index}

    async def main() -> None:
        async with client_of(administered) as client:
            assert await states(client) == {"first:1": "READY", "second:2": "UNAVAILABLE"}
            assert await states(client, ready=True) == {"first:1": "READY"}
            error(await client.post("/v2/models/second/infer", json={}), 404)
            loaded = await client.post("/v2/repository/models/second/load")
            assert (loaded.status_code, loaded.json()) == (200, {})
            assert (await client.get("/v2/models/second/ready")).status_code == 200
            broken = write_brightness(tmp_path, 3, name="second")
            broken.write_bytes(b"no model")
            assert "second cannot be served" in error(await client.post("/v2/repository/models/second/load"), 422)
            assert await states(client) == {"first:1": "READY", "second:2": "READY", "second:3": "UNAVAILABLE"}
            body = {"parameters": {"unload_dependents": False}}
            assert (await client.post("/v2/repository/models/second/unload", json=body)).status_code == 200
            error(await client.get("/v2/models/second/ready"), 404)
            assert "default" in error(await client.post("/v2/repository/models/first/unload"), 400)
            for what in ("load", "unload"):
                error(await client.post(f"/v2/repository/models/third/{what}"), 404)
                error(await client.post(f"/v2/repository/models/first/{what}", content=b"["), 400)
                body = {"parameters": {"config": "{}"}}
                assert "'config'" in error(await client.post(f"/v2/repository/models/first/{what}", json=body), 400)

    asyncio.run(main())


def test_without_a_key_nobody_changes_anything(administered: str) -> None:
    async def main() -> None:
        async with client_of(administered) as client:
            for headers in ({"X-API-Key": "a-wrong-key-of-some-length"}, {"X-API-Key": ""}):
                for path in ("index", "models/first/load", "models/first/unload"):
                    error(await client.post(f"/v2/repository/{path}", headers=headers), 401)

    asyncio.run(main())
