"""service.seal: whatever happens to a sealed file is found out."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest

from service import seal
from service.seal import Damaged
from tests.faults.traps import write_traps
from tests.service.artefacts import write_brightness


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    return write_traps(tmp_path)


def test_a_file_as_it_was_written_is_whole(sealed: Path) -> None:
    assert seal.check(sealed)


def test_a_file_without_a_checksum_is_known_as_such(tmp_path: Path) -> None:
    path = write_brightness(tmp_path)
    assert not seal.check(path)
    with pytest.raises(ValueError, match=r"no resnet\.sha256"):
        seal.seal(path.read_bytes())


def test_each_bit_that_flips_is_found_out_wherever_it_is(sealed: Path) -> None:
    """Unless it is in the entry's own name: then there is no checksum any more, and nothing else is wrong."""
    whole = sealed.read_bytes()
    name = whole.index(seal.METADATA_KEY.encode())
    dice = random.Random(0)
    for at in [dice.randrange(len(whole)) for _ in range(500)] + [len(whole) - 1, name + 20]:
        sealed.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :])
        if name <= at < name + len(seal.METADATA_KEY) + 2:
            assert not seal.check(sealed)
            continue
        with pytest.raises(Damaged, match="is not what was written when it was exported"):
            seal.check(sealed)


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_a_file_that_ends_early_is_not_taken_for_a_whole_one(sealed: Path, part: float) -> None:
    whole = sealed.read_bytes()
    sealed.write_bytes(whole[: int(len(whole) * part)])
    with suppress(Damaged):
        assert not seal.check(sealed)  # the end with the checksum is gone, too


def test_a_file_of_no_bytes_and_none_at_all_cannot_be_read(sealed: Path) -> None:
    sealed.write_bytes(b"")
    with pytest.raises(Damaged, match="cannot be read"):
        seal.check(sealed)
    sealed.unlink()
    with pytest.raises(Damaged, match=r"cannot be read: .*No such file"):
        seal.check(sealed)
