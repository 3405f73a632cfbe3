"""A real HTTP server that answers from a script, for what a healthy service does not do when it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

MODEL = {"name": "scripted", "version": "1", "precision": "fp32", "weights": "made by hand"}
PREDICTION = {"index": 7, "wnid": None, "label": "seven", "probability": 0.75}


class Reply(NamedTuple):
    """What to answer; status 0 hangs up without a word."""

    status: int
    document: object
    headers: Mapping[str, str] = {}
    after_s: float = 0.0


class Call(NamedTuple):
    """A request that came, and when."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at_s: float


CLASSIFIED = Reply(200, {"model": MODEL, "predictions": [PREDICTION], "of the future": 1})


def problem(status: int, title: str, detail: str = "so it is", **headers: str) -> Reply:
    """Return a problem document, as the service writes them."""
    document = {"title": title, "status": status, "detail": detail, "request_id": "abc"}
    return Reply(status, document, {name.replace("_", "-"): value for name, value in headers.items()})


@contextmanager
def scripted(*replies: Reply) -> Iterator[tuple[str, list[Call]]]:
    """Answer with one reply after the other, the last for ever; the block has the URL and what was asked."""
    calls: list[Call] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            calls.append(Call(self.path, dict(self.headers.items()), body, time.monotonic()))
            reply = replies[min(len(calls), len(replies)) - 1]
            time.sleep(reply.after_s)
            if not reply.status:
                self.close_connection = True
                return
            content = reply.document if isinstance(reply.document, bytes) else json.dumps(reply.document).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", calls
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
