"""The application in this process, with an engine that does as the test says."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import httpx
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray

from service.app import create_app
from service.server import Server
from service.settings import Settings
from tests.service.artefacts import contract_of, grey_labels

CROP = 8

Infer = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]


def rows_for(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return probabilities (n, 256) whose largest says how grey each image is, as `brightness` does."""
    rows = np.full((len(images), 256), 0.1 / 255, np.float32)
    for row, image in zip(rows, images, strict=True):
        row[round(float(image.mean()))] = 0.9
    return rows


class FakeEngine:
    """Implements `service.engine.Engine`; answers with `infer`, and warms up as long as it is told to."""

    provider = "FakeExecutionProvider"
    pipelined = False
    can_widen = False

    def __init__(self, infer: Infer = rows_for, *, lanes: int = 1, cost_s: float = 0.001) -> None:
        self.contract = contract_of("fake", grey_labels(), CROP)
        self.lanes = lanes
        self.batches: list[int] = []
        self.warm = threading.Event()
        self.warm.set()
        self._infer = infer
        self._cost_s = cost_s

    def infer(self, images: Sequence[NDArray[np.uint8]], *, wide: bool = False) -> NDArray[np.float32]:
        self.batches.append(len(images))
        return self._infer(images)

    def warm_up(self, max_batch_size: int) -> dict[int, float]:
        assert self.warm.wait(30)
        return {1: self._cost_s, max_batch_size: self._cost_s * 1.5}


class Gate:
    """An `infer` that waits until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        assert self.opened.wait(30)
        return rows_for(images)


@asynccontextmanager
async def running(
    engine: FakeEngine | None = None, *, wait: bool = True, **settings: object
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """Run the whole application, by default from when it is ready; without `engine`, on the artefacts of `settings`."""
    app = create_app(Settings.model_validate({"decode_threads": 1, **settings}), engine)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app):
        if wait:
            assert await app.state.lifecycle.loaded() is not None
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield app, client


async def soon(happened: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait until `happened()`, on the event loop."""
    async with asyncio.timeout(within_s):
        while not happened():  # noqa: ASYNC110 - a thread makes it happen, and tells nobody
            await asyncio.sleep(0.005)


def eventually(happened: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Wait until `happened()`."""
    limit_s = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > limit_s:
            return False
        time.sleep(0.005)
    return True


@contextmanager
def served(engine: FakeEngine, *, wait: bool = True, **settings: object) -> Iterator[str]:
    """Serve with our own `Server` on a thread of this process; by default from when it is ready."""
    options = Settings.model_validate({"decode_threads": 1, "log_level": "warning", **settings})
    server = Server(options, create_app(options, engine))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            assert eventually(
                lambda: server.started and httpx.get(f"{url}/readyz").status_code in ((200,) if wait else (200, 503))
            )
            yield url
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
