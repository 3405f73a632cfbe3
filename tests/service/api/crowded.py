"""A service whose every place is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx

from tests.service.api.greys import grey
from tests.service.apps import FakeEngine, Gate, running, soon


@asynccontextmanager
async def crowded() -> AsyncIterator[tuple[FakeEngine, httpx.AsyncClient, Callable[[], Awaitable[None]]]]:
    """Have one caller in the engine, one in the only place in line, and one who was turned away.

    Yields:
        The engine, a client, and what lets the first two go on and waits for their answers.
    """
    gate = Gate()
    engine = FakeEngine(gate)
    async with running(engine, queue_capacity=1, max_images_per_request=1, max_batch_size=1) as (app, client):
        answers = [asyncio.create_task(client.post("/classify", content=grey(5)))]
        await soon(lambda: len(engine.batches) == 1)
        answers.append(asyncio.create_task(client.post("/classify", content=grey(6))))
        await soon(lambda: app.state.lifecycle.model.backend.depth == 1)
        assert (await client.post("/classify", content=grey(5))).status_code == 429

        async def release() -> None:
            gate.opened.set()
            await asyncio.gather(*answers)

        yield engine, client, release
