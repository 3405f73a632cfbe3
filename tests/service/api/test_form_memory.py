"""Multipart files stay in memory up to the body's limit: nothing is written to disk on the way."""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from service.api.body import read_image

MEGABYTES = 5 * 1024 * 1024


def test_a_large_file_never_touches_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file was opened")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # what SpooledTemporaryFile rolls over to
    sent = httpx.Request("POST", "http://test/", files={"image": ("a.bin", b"\x01" * MEGABYTES)})
    body = sent.read()
    chunks = [body[start : start + 65536] for start in range(0, len(body), 65536)]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    headers = [(name.lower().encode(), value.encode()) for name, value in sent.headers.items()]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    assert asyncio.run(read_image(request, 2 * MEGABYTES)) == b"\x01" * MEGABYTES
