"""Frontends' clients and engines' desks in one process: real sockets and shared memory, a slow engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import uvloop
import zmq
from numpy.typing import NDArray

from service.backend import Answer
from service.batcher import Batcher
from service.cluster.arena import Arena, Layout
from service.cluster.channel import Channel, bound
from service.cluster.client import Client
from service.cluster.desk import Desk, WatchedLanes
from service.cluster.messages import Sender
from service.cost import CostModel
from tests.service.fake_lanes import number_of, rows_of


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test on the loop that the service runs on; nothing may take long."""
    uvloop.run(asyncio.wait_for(main, 60))


class SlowLanes:
    """Answers which images it saw, after `seconds`; notes when a slot changed while it was being read."""

    def __init__(self, count: int = 1, seconds: float = 0.02) -> None:
        self.count = count
        self.pipelined = False
        self.can_widen = False
        self.seconds = seconds
        self.batches: list[list[int]] = []
        self.torn = 0
        self.broken = False
        self.gate = asyncio.Event()  # cleared, it holds every run
        self.gate.set()

    async def run(self, images: Sequence[NDArray[np.uint8]], *, wide: bool) -> NDArray[np.float32]:
        known = [number_of(image) for image in images]
        self.batches.append(known)
        await asyncio.sleep(self.seconds)
        await self.gate.wait()
        if self.broken:
            raise RuntimeError("out of memory")
        self.torn += known != [number_of(image) for image in images]
        return rows_of(known)

    async def examine(self) -> None: ...


class Engine:
    """What an engine's process is made of."""

    def __init__(self, arena: Arena, index: int, address: str, lanes: SlowLanes, batching: dict[str, Any]) -> None:
        self.address = address
        self.lanes = lanes
        watched = WatchedLanes(lanes)
        self.batcher = Batcher(watched, max_batch_size=8, **batching)
        self.channel = Channel(bound(address), lambda frames: self.desk.received(frames))
        self.desk = Desk(self.batcher, watched, arena, self.channel.send)

        def changed() -> None:
            arena.board.set_running(index, watched.images)
            self.desk.runs_changed()

        watched.on_change = changed


class Office:
    """Engines, and the clients of frontends."""

    def __init__(self, arena: Arena, engines: list[Engine], clients: list[Client]) -> None:
        self.arena = arena
        self.engines = engines
        self.clients = clients

    @property
    def lanes(self) -> SlowLanes:
        """Those of the first engine."""
        return self.engines[0].lanes

    def all_free(self) -> bool:
        """Whether every client has all its slots and the board knows of nothing."""
        every = self.arena.layout.slots_each
        return self.arena.board.waiting() == 0 and all(client.slots.free == every for client in self.clients)


@asynccontextmanager
async def office(
    folder: Path,
    *,
    frontends: int = 2,
    engines: int = 1,
    capacity: int = 64,
    slots_each: int = 80,
    costs: Mapping[int, float] = MappingProxyType({1: 0.02, 8: 0.04}),
    **lanes: Any,
) -> AsyncIterator[Office]:
    """Open an office whose images are (1, 1, 3) and whose rows are (2,)."""
    arena = Arena.create(Layout(1, 2, frontends, engines, slots_each))
    try:
        addresses = [f"ipc://{folder}/engine-{index}" for index in range(engines)]
        batching = {"costs": CostModel(costs), "queue_capacity": capacity}
        desks = [Engine(arena, at, address, SlowLanes(**lanes), batching) for at, address in enumerate(addresses)]
        clients = [Client(arena, Sender(index, 0), capacity) for index in range(frontends)]
        for client in clients:
            for index, address in enumerate(addresses):
                client.connect(index, address)
        try:
            yield Office(arena, desks, clients)
        finally:
            for client in clients:
                for index in range(engines):
                    client.disconnect(index)
            for desk in desks:
                desk.channel.close()
                desk.lanes.gate.set()
                await desk.batcher.close(drain=False)  # or the loop's end would leave its runs half done
    finally:
        arena.unlink()
        zmq.Context.instance().destroy(linger=0)


async def ask(client: Client, *known: int, **options: Any) -> Answer:
    """Decode the images of these numbers into slots, as a frontend does, and have them classified."""
    with client.reserve(len(known), **options) as place:
        images = []
        for index, number in enumerate(known):
            buffer, give_back = place.lend(index)
            assert buffer is not None
            buffer[0, 0] = [number & 255, number >> 8 & 255, number >> 16]
            give_back()
            images.append(buffer)
        await asyncio.sleep(0)
        return await place.infer(images)


async def until(condition: Any, seconds: float = 10) -> None:
    """Wait until `condition()` holds."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("waited in vain")
