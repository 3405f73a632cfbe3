"""The arena: slots that do not overlap, a board that adds up, and an honest refusal when there is no room."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cluster.arena import Arena, ArenaError, Layout

LAYOUT = Layout(crop=224, classes=1000, frontends=3, engines=2, slots_each=4)


@pytest.fixture
def arena() -> Iterator[Arena]:
    made = Arena.create(LAYOUT)
    yield made
    made.unlink()


def test_what_one_process_writes_another_reads_and_no_slot_touches_its_neighbour(arena: Arena) -> None:
    other = Arena.attach(LAYOUT, arena.name)
    for slot in range(LAYOUT.slots):
        arena.pixels[slot][:] = slot + 1
        arena.rows[slot][:] = -slot
    arena.board.add_outstanding(2, 1, 7)
    for slot in range(LAYOUT.slots):
        assert other.pixels[slot].shape == (224, 224, 3)
        assert (other.pixels[slot] == slot + 1).all()
        assert other.rows[slot].shape == (1000,)
        assert (other.rows[slot] == -slot).all()
    assert other.board.outstanding(1) == 7


def test_slots_are_whole_pages_and_every_frontend_has_its_own(arena: Arena) -> None:
    assert LAYOUT.stride % mmap.PAGESIZE == 0
    assert LAYOUT.bytes == LAYOUT.board_bytes + 12 * LAYOUT.stride
    assert [slot for frontend in range(3) for slot in LAYOUT.slots_of(frontend)] == list(range(12))
    file = Path("/dev/shm", arena.name).stat()
    assert file.st_blocks * 512 >= LAYOUT.bytes  # every page is claimed
    assert file.st_mode & 0o777 == 0o600


def test_the_board_adds_up(arena: Arena) -> None:
    board = arena.board
    board.add_outstanding(0, 0, 5)
    board.add_outstanding(1, 0, 2)
    board.add_outstanding(1, 1, 4)
    board.set_running(0, 3)
    assert (board.outstanding(0), board.outstanding(1), board.waiting()) == (7, 4, 8)
    board.set_costs(0, 0.5, 0.1)
    board.set_costs(1, 9.0, 1.0)
    assert board.expected_wait_s(0, 1) == pytest.approx(0.5 + 0.1 * (7 - 3 + 1))
    assert board.expected_wait_s(1) == pytest.approx(4)  # nothing runs there
    board.forget_frontend(1)
    assert (board.outstanding(0), board.outstanding(1), board.waiting()) == (5, 0, 2)


def test_what_does_not_fit_is_refused_at_once_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"test-{os.getpid()}"
    monkeypatch.setattr("secrets.token_hex", lambda _: name)
    whole = os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize
    with pytest.raises(ArenaError, match="too small"):
        Arena.create(Layout(224, 1000, 1, 1, whole // LAYOUT.stride + 1))
    assert not Path("/dev/shm", f"resnet-serve-{name}").exists()
