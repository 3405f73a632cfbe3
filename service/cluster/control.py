"""What the supervisor and its children tell each other, over one pipe per child.

    engine ─▶ supervisor     Loaded, Serving, Failed
    frontend ─▶ supervisor   Ready, Follows, Left, Asked
    supervisor ─▶ engine     Opened, FrontendGone, Stop
    supervisor ─▶ frontend   Opened, EngineUp, EngineDown, Served, Told, Drain, Stop

The pipe is a lifeline too: when the supervisor is gone, however it went, its end closes and the child knows.
Nothing per request passes here, so plain pickled objects will do: both ends are ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from service.cluster.arena import Layout
from service.contract import Contract
from service.errors import ServiceError
from service.golden import GoldenResult
from service.repository import Wanted
from service.supply import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection


@dataclass(frozen=True)
class Promise:
    """What is served: the same from every engine, but for the last digits of what golden images are answered."""

    contract: Contract
    version: int
    provider: str
    golden: GoldenResult = field(compare=False)  # two runs on a GPU may differ in the last digit


@dataclass(frozen=True)
class Loaded:
    """An engine has its sessions; now it warms up. `lanes` are the runs that it may have going on at once."""

    promise: Promise
    lanes: int


@dataclass(frozen=True)
class Serving:
    """An engine is warm and listens."""

    address: str


@dataclass(frozen=True)
class Failed:
    """An engine cannot serve, and ends."""

    reason: str


@dataclass(frozen=True)
class Ready:
    """A frontend answers."""


@dataclass(frozen=True)
class Opened:
    """A model's arena is there; `model` is its number, which no other model of this service ever had."""

    model: int
    promise: Promise
    layout: Layout
    arena: str


@dataclass(frozen=True)
class EngineUp:
    """An engine of a model takes submissions at `address`, which no other process of its place ever had."""

    model: int
    engine: int
    address: str


@dataclass(frozen=True)
class EngineDown:
    """An engine answers no more, and reads and writes no slot: its process has ended, or the next one has a `fault`."""

    model: int
    engine: int
    fault: str | None = None


@dataclass(frozen=True)
class Served:
    """From now on answer with these models, by their numbers, the default first, and with no other.

    Every change has the next `number`.
    """

    number: int
    models: tuple[tuple[Wanted, int], ...]


@dataclass(frozen=True)
class Follows:
    """A frontend answers with what `Served` of that number said; models before that may still answer whom they have."""

    number: int


@dataclass(frozen=True)
class Left:
    """A frontend asks a model nothing any more, and has forgotten its arena."""

    model: int


@dataclass(frozen=True)
class Asked:
    """Somebody asks a frontend for what only the supervisor can do: `load` or `unload` a model, or tell `states`."""

    number: int
    what: Literal["load", "unload", "states"]
    name: str = ""


@dataclass(frozen=True)
class Told:
    """What became of what was `Asked` by that number."""

    number: int
    outcome: ServiceError | list[State]


@dataclass(frozen=True)
class FrontendGone:
    """A frontend's process has ended: nobody waits for its answers."""

    frontend: int
    generation: int


@dataclass(frozen=True)
class Drain:
    """Say that nobody should be sent here any more; answer who comes all the same."""


@dataclass(frozen=True)
class Stop:
    """Take no more connections, finish what is in flight and end, within that many seconds."""

    within_s: float


FromEngine = Loaded | Serving | Failed
FromFrontend = Ready | Follows | Left | Asked
ToEngine = Opened | FrontendGone | Stop
ToFrontend = Opened | EngineUp | EngineDown | Served | Told | Drain | Stop
Message = FromEngine | FromFrontend | ToEngine | ToFrontend


class Control:
    """One end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop: asyncio.AbstractEventLoop | None = None  # while it is listened to
        self._received: Callable[[Message], None] = lambda _: None

    def send(self, message: Message) -> None:
        """Tell the other side, if it still lives; whoever watches it knows otherwise."""
        with contextlib.suppress(OSError):
            self._connection.send(message)

    def listen(self, received: Callable[[Message], None], closed: Callable[[], None]) -> None:
        """From now on call `received` with each message on the running event loop, and `closed` at the end."""

        def readable() -> None:
            try:
                message: Message = self._connection.recv()
            except (EOFError, OSError):
                self._stop_listening()
                closed()
            else:
                received(message)  # one a turn: the descriptor stays readable while there are more

        self._received = received
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._connection.fileno(), readable)
        # libuv makes what it watches non-blocking, and a `Connection` reads long messages in several pieces.
        os.set_blocking(self._connection.fileno(), True)

    def close(self) -> None:
        """Let go of this end, when the other is gone, having heard its last words."""
        with contextlib.suppress(EOFError, OSError):
            while self._loop is not None and self._connection.poll():
                self._received(self._connection.recv())
        self._stop_listening()
        self._connection.close()

    def _stop_listening(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._connection.fileno())
            self._loop = None
