"""Files in slots: an engine's process that decodes gets them as they came, and pixels beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import zmq

from service.cluster.arena import Arena, Layout
from service.cluster.client import Client
from service.cluster.files import FilePlace
from service.cluster.messages import Outcome, Sender, pack_outcome, unpack_outcomes
from service.errors import NotDecoded
from tests.service.cluster.office import run


@pytest.fixture
def arena() -> Any:
    made = Arena.create(Layout(crop=2, classes=3, frontends=1, engines=1, slots_each=4, file_bytes=100))
    yield made
    made.unlink()


@contextmanager
def place_of(arena: Arena, folder: Path, images: int) -> Iterator[FilePlace]:
    client = Client(arena, Sender(0, 0), 4, FilePlace)
    client.connect(0, f"ipc://{folder}/nobody")
    try:
        with client.reserve(images) as place:
            yield cast("FilePlace", place)
    finally:
        client.disconnect(0)
        zmq.Context.instance().destroy(linger=0)


def test_an_engine_finds_files_and_pixels_as_they_were_put(arena: Arena, tmp_path: Path) -> None:
    async def test() -> None:
        with place_of(arena, tmp_path, 3) as place:
            for turn in range(2):  # the second time in slots that have held something else
                room = [loan.pixels for loan in map(place.lend, range(3)) if loan.pixels is not None]
                assert all(len(each) == 100 for each in room)
                room[0][:5] = file = np.arange(5, dtype=np.uint8) + turn
                room[1][:12] = 7 + turn
                pixels = room[1][:12].reshape(2, 2, 3)
                elsewhere = np.full((2, 2, 3), 9 + turn, np.uint8)
                first, second, third = used = place._hand_over([room[0][:5], pixels, elsewhere])
                assert arena.image(first).tolist() == file.tolist()
                assert arena.image(second).tolist() == pixels.tolist()
                assert arena.image(third).tolist() == elsewhere.tolist()
                assert place._slots == []
                place._slots = [second, third, first]
                assert len(set(used)) == 3

    run(test())


def test_rows_and_lengths_keep_out_of_the_files_way(arena: Arena) -> None:
    for slot in range(4):
        arena.files[slot][:] = 255
        arena.lengths[slot] = 100
        arena.rows[slot][:] = slot
    for slot in range(4):
        assert arena.image(slot).tolist() == [255] * 100
        assert arena.rows[slot].tolist() == [slot] * 3


def test_without_files_a_slot_is_its_pixels() -> None:
    made = Arena.create(Layout(crop=2, classes=3, frontends=1, engines=1, slots_each=1))
    try:
        assert made.image(0) is made.pixels[0]
    finally:
        made.unlink()


def test_that_a_card_could_not_decode_travels_as_such() -> None:
    (outcome,) = unpack_outcomes(pack_outcome(Outcome(5, NotDecoded("the card cannot decode it"))))
    assert type(outcome.error) is NotDecoded
