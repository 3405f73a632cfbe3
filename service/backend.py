"""What stands between a decoded image and its probabilities, in this process or in another.

Two implementations: `service.batcher.Batcher` with the engine beside it, and `service.cluster` with the engine in
a process of its own. The API cannot tell them apart.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from service.errors import ServiceError

    Images = Sequence[NDArray[np.uint8]]  # each (H, W, 3); with --decoder gpu also files, (n,): service/card


class Answer(NamedTuple):
    """What a caller gets: probabilities (n, classes) and where its time went, in seconds."""

    rows: NDArray[np.float32]
    queue_s: float
    inference_s: float


class Occupancy(NamedTuple):
    """How many slots for one image each, in memory shared between processes, are in use, of how many."""

    used: int
    total: int


class Loan(NamedTuple):
    """Memory that one image is decoded into.

    Attributes:
        pixels: uint8 (H, W, 3); for `--decoder gpu` (n,), room for a file as well; None for anywhere.
        give_back: To be called once nothing is written there any more. Until then nobody else has it.
    """

    pixels: NDArray[np.uint8] | None
    give_back: Callable[[], None]


ANYWHERE = Loan(None, lambda: None)


class Place(Protocol):
    """A place in line, held while the caller prepares its images; leaving the block gives it back."""

    def __enter__(self) -> Place:
        """Hold the place."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Give it back."""

    def lend(self, index: int) -> Loan:
        """Return where image `index` should be decoded to. The place may be left before that is given back."""

    async def infer(self, images: Images) -> Answer:
        """Stand in line with `images`, no more than were reserved, and return their rows.

        Raises:
            DeadlineExceeded: the deadline passed first.
            EngineFailed: the engine raised or answered nonsense.
            Unavailable: the backend closed, or lost its engine.
        """


class Backend(Protocol):
    """Answers images, and says no in time.

    Attributes:
        depth: How many images hold a place: waiting, or being decoded in order to wait.
        unavailable: Why nobody is admitted now, or None.
        occupancy: Of its shared memory; None where it needs none.
    """

    @property
    def depth(self) -> int: ...  # noqa: D102 - see Attributes

    @property
    def unavailable(self) -> ServiceError | None: ...  # noqa: D102 - see Attributes

    @property
    def occupancy(self) -> Occupancy | None: ...  # noqa: D102 - see Attributes

    def reserve(self, images: int, *, deadline_s: float = math.inf, priority: int = 0) -> Place:
        """Hold a place in line for `images` images, before anything is spent on decoding them.

        Args:
            images: How many images the caller will bring.
            deadline_s: Time on `time.monotonic` by which the answer must be there.
            priority: 1 (highest) to 5; 0 for the default, the middle.

        Raises:
            QueueFull: there is no room; says when to try again.
            DeadlineExceeded: the answer could not be there in time.
            Unavailable: closed, or without an engine for now.
            Unprocessable: no such priority.
        """

    async def close(self, *, drain: bool = True) -> None:
        """Admit nobody any more; with `drain`, answer those in line first."""
