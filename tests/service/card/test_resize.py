"""service.card.resize: the kernels' levels are those of the CPU's decoder, whatever the size."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.card.resize import CardPicture, Resizer
from service.engine.device import HostDevice
from service.image import Decoder
from tests.service.card.host import HostKernels
from tests.service.images import Pixels, preprocessing, scene


def on_card(pictures: list[Pixels], resize: int, crop: int, padding: int = 0) -> list[Pixels]:
    """Return what the kernels make of pictures (height, width, 3) that lie in memory with padding after each row."""
    kept, described = [], []
    for picture in pictures:
        height, width, _ = picture.shape
        padded = np.full((height, width * 3 + padding), 255, np.uint8)
        padded[:, : width * 3] = picture.reshape(height, -1)
        kept.append(padded)
        described.append(CardPicture(width, height, padded.ctypes.data, padded.strides[0]))
    out = np.zeros((len(pictures), crop, crop, 3), np.uint8)
    resizer = Resizer(HostDevice(), HostKernels(), preprocessing(resize, crop), 0)
    resizer.begin(described, [each.ctypes.data for each in out])
    return list(out)


def by_cpu(picture: Pixels, resize: int, crop: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return Decoder(preprocessing(resize, crop)).decode(file.getvalue())


@given(
    width=st.integers(1, 500),
    height=st.integers(1, 500),
    sides=st.tuples(st.integers(1, 260), st.integers(1, 260)),
    padding=st.integers(0, 40),
)
@settings(max_examples=60, deadline=None)
def test_any_size_has_the_levels_of_the_cpus_decoder(
    width: int, height: int, sides: tuple[int, int], padding: int
) -> None:
    crop, resize = sorted(sides)
    picture = scene(width, height)
    (pixels,) = on_card([picture], resize, crop, padding)
    np.testing.assert_array_equal(pixels, by_cpu(picture, resize, crop))


@pytest.mark.parametrize(
    "size", [(1, 3000), (3000, 1), (1, 1), (4000, 3), pytest.param((2999, 1999), marks=pytest.mark.slow)]
)
def test_extreme_shapes_too(size: tuple[int, int]) -> None:
    picture = scene(*size)
    (pixels,) = on_card([picture], 64, 56)
    np.testing.assert_array_equal(pixels, by_cpu(picture, 64, 56))


def test_pictures_of_a_batch_keep_out_of_each_others_way() -> None:
    pictures = [scene(90, 61), scene(33, 400), scene(500, 20), scene(64, 64)]
    for pixels, picture in zip(on_card(pictures, 72, 64), pictures, strict=True):
        np.testing.assert_array_equal(pixels, by_cpu(picture, 72, 64))


def test_scratch_memory_is_taken_again_only_for_more() -> None:
    class Counting(HostDevice):
        allocations = 0

        def allocate(self, size: int):  # type: ignore[no-untyped-def]
            self.allocations += 1
            return super().allocate(size)

    device = Counting()
    resizer = Resizer(device, HostKernels(), preprocessing(64, 56), 0)
    out = np.zeros((56, 56, 3), np.uint8)
    for side in (100, 90, 110, 700, 100, 700):
        picture = scene(side, side)
        resizer.begin([CardPicture(side, side, picture.ctypes.data, side * 3)], [out.ctypes.data])
        np.testing.assert_array_equal(out, by_cpu(picture, 64, 56))
    assert device.allocations == 2


def test_two_decoders_that_work_at_the_same_time_do_not_disturb_each_other() -> None:
    pictures = [[scene(48, 40)], [scene(60, 50)] * 4]
    want = [on_card(batch, 64, 56) for batch in pictures]

    def again(number: int) -> bool:
        return all(np.array_equal(on_card(pictures[number], 64, 56), want[number]) for _ in range(100))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(again, range(2)))
