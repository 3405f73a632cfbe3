"""Pixels are those of torchvision's PIL path, level for level, whatever the size.

Pictures more than twice as tall as wide that become smaller are resized along y first by Pillow 13, and along x by
older ones, as all others are; the two round differently, so there every value is within one level.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.image import Decoder
from tests.service.images import Pixels, encode, exif, preprocessing, scene, torchvision_path


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[bytes]:
    bodies = [path.read_bytes() for path in sorted((shared / "images").glob("*.JPEG"))]
    assert len(bodies) == 250
    return bodies


def assert_same(pixels: Pixels, upright: Image.Image, resize: int = 256, crop: int = 224) -> None:
    expected = torchvision_path(upright, resize, crop)
    if upright.height > 2 * upright.width > 2 * resize:
        assert np.abs(pixels.astype(int) - expected).max() <= 1
    else:
        np.testing.assert_array_equal(pixels, expected)


# 256 and 232 are torchvision's; with 288, many photos have a size whose exact sums lie halfway between two levels.
@pytest.mark.parametrize("resize", [256, *(pytest.param(resize, marks=pytest.mark.slow) for resize in (232, 288))])
def test_every_photo_has_torchvisions_pixels(photos: list[bytes], resize: int) -> None:
    decoder = Decoder(preprocessing(resize))
    for body in photos:
        assert_same(decoder.decode(body), Image.open(io.BytesIO(body)), resize)


@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    sides=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    orientation=st.integers(1, 8),
)
@settings(max_examples=150, deadline=None)
def test_any_size_has_torchvisions_pixels(width: int, height: int, sides: tuple[int, int], orientation: int) -> None:
    crop, resize = sorted(sides)
    image = Image.fromarray(scene(width, height))
    body = encode(image, "PNG", exif=exif(orientation), compress_level=1)
    pixels = Decoder(preprocessing(resize, crop)).decode(body)
    assert pixels.shape == (crop, crop, 3)
    long, short = max(width, height), min(width, height)
    if resize * resize * long // short > 4_000_000:
        return  # the reference would need too much memory: see the test of extreme shapes
    upright = image if orientation == 1 else _upright(image, orientation)
    assert_same(pixels, upright, resize, crop)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn upright by arithmetic on indices: Exif's own words for where row 0 and column 0 are (CIPA DC-008)."""
    stored = np.asarray(image)
    last_row, last_column = stored.shape[0] - 1, stored.shape[1] - 1
    rows, columns = (last_row + 1, last_column + 1) if orientation < 5 else (last_column + 1, last_row + 1)
    r, c = np.mgrid[:rows, :columns]
    source = {
        2: (r, last_column - c),
        3: (last_row - r, last_column - c),
        4: (last_row - r, c),
        5: (c, r),
        6: (last_row - c, r),
        7: (last_row - c, last_column - r),
        8: (c, last_column - r),
    }[orientation]
    return Image.fromarray(np.ascontiguousarray(stored[source]))


@pytest.mark.parametrize("size", [(1, 30000), (30000, 1), (7, 29999), (3, 2), (1, 1), (2, 5000), (65535, 3)])
def test_extreme_shapes_are_within_one_level(size: tuple[int, int]) -> None:
    """The whole resized image would take gigabytes: Pillow computes just the crop, as the reference."""
    image = Image.fromarray(scene(*size))
    short, long = min(size), max(size)
    resized = [256 if side == short else int(256 * long / short) for side in size]
    box = []
    for start in (0, 224):
        box += [
            (round((length - 224) / 2.0) + start) * side / length for length, side in zip(resized, size, strict=True)
        ]
    expected = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR, box=tuple(box)))
    pixels = Decoder(preprocessing()).decode(encode(image, "PNG"))
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_an_image_of_the_right_size_is_copied() -> None:
    picture = scene(224, 224)
    pixels = Decoder(preprocessing(224)).decode(encode(Image.fromarray(picture), "PNG"))
    np.testing.assert_array_equal(pixels, picture)
