"""A frontend's side of the line: `service.backend.Backend` with the engines in other processes.

    reserve ──▶ slots of this frontend's range ──▶ (decode into them) ──▶ infer ──▶ their numbers to an engine
    an engine ──▶ outcome ──▶ rows are copied out of the slots, the slots are free

Everything here runs on one event loop. Slots that an engine has been told of come back only when it has answered
or is dead, also when the caller has hung up meanwhile; slots that are being decoded into, when the decoder has ended.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import TYPE_CHECKING

import numpy as np
import zmq

from service.appointments import Appointments
from service.backend import Loan, Occupancy
from service.cluster.link import Link
from service.cluster.slots import Slots
from service.errors import DeadlineExceeded, QueueFull, ServiceError, Unavailable
from service.line import level_of

if TYPE_CHECKING:
    from service.backend import Answer, Images
    from service.cluster.arena import Arena
    from service.cluster.messages import Sender

logger = logging.getLogger(__name__)

_AGAIN_S = 0.2  # until the next try, where there are no descriptors left


class Client:
    """Holds places in line for callers, each with the engine that has the least to do.

    Args:
        arena: The shared memory.
        sender: Which frontend this is.
        queue_capacity: Images that may hold a place at the same time, over the whole service.
        place: What callers get.
    """

    def __init__(self, arena: Arena, sender: Sender, queue_capacity: int, place: type[Place] | None = None) -> None:
        self._place = place or Place
        self.slots = Slots(arena, sender.frontend)
        self._arena = arena
        self._board = arena.board
        self._sender = sender
        self._capacity = queue_capacity
        self._links: dict[int, Link] = {}
        self._addresses: dict[int, str] = {}  # of the engines that serve, also where there is no link yet
        self._appointments = Appointments()
        self._places = 0
        self._closed = False
        self._fault: str | None = None  # of the engine that should serve
        self._quiet = asyncio.Event()  # set when closed and no place is held

    @property
    def depth(self) -> int:
        """How many images hold a place in the whole service: waiting, or being decoded in order to wait."""
        return self._board.waiting()

    @property
    def unavailable(self) -> ServiceError | None:
        """Why nobody is admitted now, or None."""
        if self._closed:
            return Unavailable("the service is shutting down", retry_after_s=1.0)
        return None if self._links else Unavailable(self._fault or "the engine is being replaced", retry_after_s=1.0)

    @property
    def occupancy(self) -> Occupancy:
        """How many of the arena's slots are in use, over all frontends."""
        return Occupancy(self._board.all_outstanding(), self._arena.layout.slots)

    def connect(self, engine: int, address: str) -> None:
        """Begin to use the engine process that listens at `address`, as soon as there is a descriptor for it."""
        if self._closed:
            return
        self._addresses[engine] = address
        self._try_to_connect(engine, address)

    def _try_to_connect(self, engine: int, address: str) -> None:
        if self._addresses.get(engine) != address:
            return  # it has ended meanwhile
        try:
            self._links[engine] = Link(engine, address, self._sender, self.slots)
        except zmq.ZMQError as error:
            logger.error("engine %d cannot be reached now: %s", engine, error)
            asyncio.get_running_loop().call_later(_AGAIN_S, self._try_to_connect, engine, address)

    def disconnect(self, engine: int, fault: str | None = None) -> None:
        """Tell the callers of an engine whose process has ended, and free their slots; `fault` is its successor's."""
        self._fault = fault
        self._addresses.pop(engine, None)
        if (link := self._links.pop(engine, None)) is not None:
            link.close("the engine died and is being replaced")

    def reserve(self, images: int, *, deadline_s: float = math.inf, priority: int = 0) -> Place:
        """Hold a place in line; see `service.backend.Backend.reserve`."""
        level_of(priority)
        engine = self.least_loaded().engine
        self._check_room(images, engine, deadline_s)
        self._places += 1
        return self._place(self, engine, self.slots.lease(images, engine), deadline_s, priority)

    def _check_room(self, images: int, engine: int, deadline_s: float) -> None:
        waiting = self._board.waiting()
        if waiting + images > self._capacity or images > self.slots.free:
            raise QueueFull(
                f"{waiting} of {self._capacity} places in the queue are taken",
                retry_after_s=self._appointment_s(images, engine),
            )
        # An engine with nothing to do judges for itself: what it published is of a busier time.
        if deadline_s == math.inf or not self._board.outstanding(engine):
            return
        if time.monotonic() + self._board.expected_wait_s(engine, images) > deadline_s:
            raise DeadlineExceeded("the deadline cannot be met: the queue is longer than that")

    def _appointment_s(self, images: int, engine: int) -> float:
        wait_s = self._board.expected_wait_s(engine)
        work_s = self._board.expected_wait_s(engine, images) - wait_s
        # Other frontends give appointments with the same engines.
        layout = self._arena.layout
        return self._appointments.wait_s(wait_s / 2, work_s * layout.frontends / layout.engines)

    async def close(self, *, drain: bool = True) -> None:
        """Admit nobody any more; with `drain`, let those in line be answered first, else tell them so."""
        self._closed = True
        self._addresses.clear()
        if drain:
            self.left(0)
            await self._quiet.wait()
        while self._links:
            self._links.popitem()[1].close("the service is shutting down")

    def link(self, engine: int) -> Link | None:
        """Return the link to `engine`, if it is up."""
        return self._links.get(engine)

    def least_loaded(self) -> Link:
        """Return the link to the engine with the fewest images.

        Raises:
            Unavailable: closed, or there is none.
        """
        if (reason := self.unavailable) is not None:
            raise reason
        if len(self._links) == 1:
            return next(iter(self._links.values()))
        return min(self._links.values(), key=lambda link: self._board.outstanding(link.engine))

    def left(self, places: int = 1) -> None:
        """Note that places are held no longer."""
        self._places -= places
        if self._closed and not self._places:
            self._quiet.set()


class Place:
    """A place in line with slots to decode into; see `service.backend.Place`."""

    __slots__ = ("_client", "_deadline_s", "_engine", "_priority", "_slots")

    def __init__(self, client: Client, engine: int, slots: list[int], deadline_s: float, priority: int) -> None:
        self._client = client
        self._engine = engine
        self._slots = slots
        self._deadline_s = deadline_s
        self._priority = priority

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.slots.give_back(self._slots, self._engine)
        self._slots = []
        self._client.left()

    def lend(self, index: int) -> Loan:
        """Return the pixels of the slot for image `index`, (H, W, 3)."""
        slot = self._slots[index]
        return Loan(self._client.slots.pixels[slot], self._client.slots.lend(slot))

    async def infer(self, images: Images) -> Answer:
        """Stand in line; see `service.backend.Place.infer`."""
        if len(images) > len(self._slots):
            raise ValueError(f"{len(images)} images, but a place for {len(self._slots)}")
        link = self._client.link(self._engine)
        if link is None:  # it died while the images were decoded: they are good for any other
            link = self._client.least_loaded()
            self._client.slots.redirect(len(self._slots), self._engine, link.engine)
            self._engine = link.engine
        return await link.infer(self._hand_over(images), self._deadline_s, self._priority)

    def _hand_over(self, images: Images) -> list[int]:
        """Return the slots that `images` are in, in their order; an image from elsewhere is copied into one."""
        pixels = self._client.slots.pixels
        own = {id(pixels[slot]): slot for slot in self._slots}
        used = [own.pop(id(image), -1) for image in images]
        for at, slot in enumerate(used):
            if slot < 0:
                used[at] = own.popitem()[1]
                np.copyto(pixels[used[at]], images[at])
        self._slots = list(own.values())  # those left over
        return used
