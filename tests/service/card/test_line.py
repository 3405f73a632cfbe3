"""service.card.line: batches over all callers, failures to their own caller, and files left alone in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from service.backend import ANYWHERE, Answer, Loan
from service.card.decoder import CardDecoder
from service.card.line import DecodingBackend
from service.engine.device import Resident
from service.errors import NotDecoded


class Inner:
    """A backend whose rows say what reached it."""

    depth, unavailable, occupancy = 3, None, None

    def __init__(self) -> None:
        self.closed = False
        self.places = 0

    def reserve(self, images: int, *, deadline_s: float = 0, priority: int = 0) -> Inner:
        return self

    def __enter__(self) -> Inner:
        self.places += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.places -= 1

    def lend(self, index: int) -> Loan:
        return ANYWHERE

    async def infer(self, images: Any) -> Answer:
        known = [image.address if isinstance(image, Resident) else -int(image[0, 0, 0]) for image in images]
        return Answer(np.array([known], np.float32).T, 0.0, 0.0)

    async def close(self, *, drain: bool = True) -> None:
        self.closed = True


class Decoder:
    """Makes of a file [n, …] the resident n; of 13 nothing. Cleared, `gate` holds a batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.broken = False

    def decode(self, files: list[NDArray[np.uint8]]) -> list[Resident | None]:
        self.batches.append([int(file[0]) for file in files])
        self.began.set()
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("cudaErrorLaunchFailure")
        return [None if file[0] == 13 else Resident(int(file[0]), lambda _: None) for file in files]


def backend_of(*decoders: Decoder, size: int = 4) -> DecodingBackend:
    return DecodingBackend(cast("Any", Inner()), cast("list[CardDecoder]", list(decoders)), size)


def file(number: int) -> NDArray[np.uint8]:
    return np.array([number, 0], np.uint8)


async def ask(backend: DecodingBackend, *images: NDArray[np.uint8]) -> list[int]:
    with backend.reserve(len(images)) as place:
        return [int(row[0]) for row in (await place.infer(list(images))).rows]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_callers_share_batches_and_get_their_own() -> None:
    async def test() -> None:
        decoder = Decoder()
        backend = backend_of(decoder)
        answers = await asyncio.gather(*(ask(backend, file(n)) for n in range(6)), ask(backend, file(7), file(8)))
        assert answers == [[0], [1], [2], [3], [4], [5], [7, 8]]
        assert decoder.batches == [[0, 1, 2, 3], [4, 5, 7, 8]]
        await backend.close()

    run(test)


def test_pixels_pass_beside_files_in_their_order() -> None:
    async def test() -> None:
        backend = backend_of(Decoder())
        pixels = np.full((2, 2, 3), 9, np.uint8)
        assert await ask(backend, file(1), pixels, file(2)) == [1, -9, 2]
        assert await ask(backend, pixels) == [-9]
        await backend.close()

    run(test)


def test_what_cannot_be_decoded_is_told_to_its_own_caller_alone() -> None:
    async def test() -> None:
        backend = backend_of(Decoder())
        good, bad, mixed = await asyncio.gather(
            ask(backend, file(1)), ask(backend, file(13)), ask(backend, file(2), file(13)), return_exceptions=True
        )
        assert good == [1]
        assert isinstance(bad, NotDecoded)
        assert isinstance(mixed, NotDecoded)
        await backend.close()

    run(test)


def test_a_decoder_that_fails_leaves_its_batch_to_the_cpu_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        decoder = Decoder()
        backend = backend_of(decoder)
        decoder.broken = True
        with pytest.raises(NotDecoded):
            await ask(backend, file(1))
        assert "cudaErrorLaunchFailure" in caplog.text
        decoder.broken = False
        assert await ask(backend, file(2)) == [2]
        await backend.close()

    run(test)


def test_as_many_batches_at_once_as_there_are_decoders() -> None:
    async def test() -> None:
        decoders = Decoder(), Decoder()
        for decoder in decoders:
            decoder.gate.clear()
        backend = backend_of(*decoders, size=1)
        asking = [asyncio.create_task(ask(backend, file(n))) for n in range(3)]
        for decoder in decoders:
            assert await asyncio.to_thread(decoder.began.wait, 10)
        assert sorted(len(decoder.batches) for decoder in decoders) == [1, 1]
        for decoder in decoders:
            decoder.gate.set()
        assert await asyncio.gather(*asking) == [[0], [1], [2]]
        await backend.close()

    run(test)


def test_who_hangs_up_in_line_is_never_decoded_and_while_being_decoded_waits_until_the_file_is_left_alone() -> None:
    async def test() -> None:
        decoder = Decoder()
        decoder.gate.clear()
        backend = backend_of(decoder)
        being_read = asyncio.create_task(ask(backend, file(1)))
        assert await asyncio.to_thread(decoder.began.wait, 10)
        waiting = asyncio.create_task(ask(backend, file(2)))
        await asyncio.sleep(0)
        waiting.cancel()
        being_read.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not being_read.done(), "its file is still being read"
        being_read.cancel()  # again: that changes nothing
        decoder.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await being_read
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await ask(backend, file(3)) == [3]
        assert decoder.batches == [[1], [3]]
        inner = cast("Inner", backend._inner)
        assert inner.places == 0
        await backend.close()
        assert inner.closed

    run(test)


def test_it_speaks_for_the_batcher() -> None:
    backend = backend_of(Decoder())
    assert (backend.depth, backend.unavailable, backend.occupancy) == (3, None, None)
