"""Logs: a line is an object, a request has one line, and nothing secret or of an image is in any."""

from __future__ import annotations

import json
import logging
import random
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.access_log import AccessLog
from service.api.reception import Visit
from service.logs import REQUEST, JsonFormatter
from tests.conftest import ROOT
from tests.service.api.greys import grey
from tests.service.apps import eventually
from tests.service.serving import MAINLY_SEVERAL, serving

KEY = "a-key-that-nobody-should-ever-read-in-a-log"
DOCUMENT = ROOT / "docs" / "logs-and-traces.md"


def lines(log: str) -> list[dict[str, Any]]:
    """Return the log's lines; but for what is printed for a person, each is an object."""
    return [json.loads(line) for line in log.splitlines() if not line.startswith(("Serving ", "Try it: "))]


@pytest.mark.parametrize("shape", MAINLY_SEVERAL)
def test_a_request_is_one_line_that_tells_how_it_went(artifacts: Path, tmp_path: Path, shape: tuple[str, ...]) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    keys.chmod(0o600)
    arguments = ["--log-format", "json", "--access-log", "--api-keys-file", str(keys), *shape]
    with serving(artifacts, *arguments) as service, httpx.Client(base_url=service.url) as client:
        known = {"X-API-Key": KEY}
        client.post("/classify", content=grey(7), headers={**known, "X-Request-ID": "good", "traceparent": _PARENT})
        client.post("/classify", content=b"SECRET-PIXELS", headers={**known, "X-Request-ID": "bad"})
        client.post("/classify?top_k=0&token=SECRET-QUERY", content=grey(7), headers={**known, "X-Request-ID": "wrong"})
        client.post("/classify", content=grey(7), headers={"X-Request-ID": "stranger", "X-API-Key": "SECRET-GUESS"})
        client.get("/no%0Awhere", headers={**known, "X-Request-ID": "lost"})
        assert eventually(lambda: '"request_id": "lost"' in service.log)  # written after the answer
        text = service.log
    assert KEY not in text
    assert "SECRET" not in text
    found = {line["request_id"]: line for line in lines(text) if line["logger"] == "service.access"}
    assert {name: (line["status"], line["outcome"]) for name, line in found.items() if len(name) < 32} == {
        "good": (200, "answered"),
        "bad": (415, "undecodable"),
        "wrong": (422, "invalid"),
        "stranger": (401, "unauthorized"),
        "lost": (404, "not_found"),
    }
    good = found["good"]
    assert (good["method"], good["path"], good["client"], good["level"]) == ("POST", "/classify", "127.0.0.1", "info")
    assert 0 < good["decode_ms"] + good["inference_ms"] <= good["duration_ms"] + 0.02
    assert good["trace_id"] == _PARENT.split("-")[1]
    assert found["lost"]["path"] == "/no%0Awhere"
    assert datetime.fromisoformat(good["time"]).tzinfo is not None
    assert good["process"].startswith("frontend-" if shape else "MainProcess")
    (shown,) = re.findall(r"^```json\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert set(json.loads(shown)) == set(good)


_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_line_of_a_request_carries_its_ids_and_the_exception() -> None:
    def line() -> dict[str, Any]:
        try:
            raise ValueError("on\npurpose")
        except ValueError:
            record = logging.LogRecord("a", logging.ERROR, __file__, 1, "was %s", ("bad",), None)
            import sys

            record.exc_info = sys.exc_info()
            written = JsonFormatter().format(record)
        assert "\n" not in written
        found: dict[str, Any] = json.loads(written)
        return found

    assert "request_id" not in line()
    token = REQUEST.set({"request_id": "r", "trace_id": "t", "headers": [(b"authorization", b"secret")]})
    try:
        found = line()
    finally:
        REQUEST.reset(token)
    assert (found["request_id"], found["trace_id"], found["message"], found["level"]) == ("r", "t", "was bad", "error")
    assert "ValueError: on\npurpose" in found["exception"]
    assert "secret" not in str(found)


def test_a_share_of_requests_is_logged_but_every_failure(caplog: pytest.LogCaptureFixture) -> None:
    random.seed(7)
    scope = {"request_id": "r", "method": "POST", "raw_path": b"/classify", "client": ("127.0.0.1", 1)}
    log, good, failed = AccessLog(0.1), Visit(None), Visit(None)
    failed.status, failed.outcome = 500, "failed"
    with caplog.at_level(logging.INFO):
        for _ in range(1000):
            log.write(scope, good, 0.001)
        for _ in range(20):
            log.write(scope, failed, 0.001)
    count = Counter(record.fields["outcome"] for record in caplog.records)  # type: ignore[attr-defined]
    assert count["failed"] == 20
    assert 60 < count["answered"] < 140


def test_a_path_is_cut_and_its_query_left_out(caplog: pytest.LogCaptureFixture) -> None:
    scope = {"request_id": "r", "method": "GET", "raw_path": b"/a" * 5000 + b"?b=c", "client": None}
    with caplog.at_level(logging.INFO):
        AccessLog(1.0).write(scope, Visit(None), 0.001)
        AccessLog(1.0).write({**scope, "raw_path": b"/\xff\n?b=c"}, Visit(None), 0.001)
    assert [record.fields["path"] for record in caplog.records] == ["/a" * 128, "/\\xff\\n"]  # type: ignore[attr-defined]
