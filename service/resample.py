"""Resize and centre crop as torchvision's PIL path does them, computing only what the crop keeps.

    stored pixels ──read──▶ band ──first pass, along x──▶ ──turn upright──▶ ──second pass, along y──▶ pixels

Pillow, and so torchvision, resizes along x, rounds to whole levels, then along y, and rounds again. Here the first
pass, where most of the work is, runs in fast_image_resize (SIMD); its sums are within 0.02 of Pillow's, so its
levels are within 1. The second pass is Pillow's own arithmetic: a mean of levels that are within 1 is within 1, and
so is its rounding. Every value is therefore within one level of torchvision's; of the photos in the tests, one in
700 differs at all. (With both passes in fast_image_resize, or with Pillow's `resize(box=…)`, which takes the box as
float32, a few photos in a hundred have a value that is off by two.)
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from cykooz_resizer import (  # type: ignore[import-untyped]  # it has annotations, but does not say so
    CropBox,
    FilterType,
    ImageData,
    PixelType,
    ResizeAlg,
    ResizeOptions,
    Resizer,
)
from numpy.typing import NDArray
from PIL import Image

from service.contract import Preprocessing

Pixels = NDArray[np.uint8]

_BAND_PIXELS = 1 << 20  # of a first pass at a time: bounds the copies that it makes to 3 MiB each
_BILINEAR = ResizeAlg.convolution(FilterType.bilinear)
_CHANNELS = 3
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a stored picture becomes upright: its axes swapped or not, then mirrored along x, along y.

    Attributes:
        transpose: The same as one of Pillow's operations; None where nothing is to be done.
    """

    swap: bool = False
    mirror_x: bool = False
    mirror_y: bool = False
    transpose: Image.Transpose | None = None


UPRIGHT = Orientation()
# By the value of Exif's tag 274 (CIPA DC-008, Orientation).
ORIENTATIONS = {
    1: UPRIGHT,
    2: Orientation(False, True, False, Image.Transpose.FLIP_LEFT_RIGHT),
    3: Orientation(False, True, True, Image.Transpose.ROTATE_180),
    4: Orientation(False, False, True, Image.Transpose.FLIP_TOP_BOTTOM),
    5: Orientation(True, False, False, Image.Transpose.TRANSPOSE),
    6: Orientation(True, True, False, Image.Transpose.ROTATE_270),
    7: Orientation(True, True, True, Image.Transpose.TRANSVERSE),
    8: Orientation(True, False, True, Image.Transpose.ROTATE_90),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture as it is stored.

    Attributes:
        width: Stored width in pixels.
        height: Stored height in pixels.
        read: (left, top, right, bottom) in samples to their RGB bytes, row by row.
        orientation: How it becomes upright.
        denominator: Pixels per sample along each axis: more than 1 where it was decoded at a reduced scale.
    """

    width: int
    height: int
    read: Callable[[int, int, int, int], bytes]
    orientation: Orientation = UPRIGHT
    denominator: int = 1


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the upright picture: `length` pixels are resized to `resized`, `crop` from `first` are kept."""

    length: int
    denominator: int
    resized: int
    first: int
    crop: int
    mirrored: bool

    @property
    def samples(self) -> int:
        """How many there are; of a reduced picture, the last one stored may reach beyond its end."""
        return -(-self.length // self.denominator)

    def extent(self, outputs: int) -> float:
        """Return how many samples a number of outputs covers."""
        return outputs * self.length / (self.resized * self.denominator)

    def position(self, output: int) -> float:
        """Return where an output begins, in samples."""
        beyond = self.samples - self.length / self.denominator
        return self.extent(output) + (beyond if self.mirrored else 0)

    def needed(self) -> tuple[int, int]:
        """Return the samples that the kept outputs depend on: a triangle's reach around them, half its base."""
        reach = max(1.0, self.extent(1))
        start, stop = self.position(self.first) - reach, self.position(self.first + self.crop) + reach
        return max(0, math.floor(start)), min(self.samples, math.ceil(stop))

    def exact_outputs(self) -> tuple[int, int]:
        """Return the smallest run of outputs around the kept ones that begins and ends where float32 is exact.

        Pillow takes its box as float32; from inexact ends it would compute other weights than torchvision's, which
        resizes the whole. Ends on whole samples, or on parts that are powers of two, are exact. A run that would
        be much longer than the crop (a very long picture) is not worth it: there the ends are rounded.
        """
        parts = self.resized // math.gcd(self.length, self.resized)
        step = parts // (parts & -parts)  # the odd part
        start = self.first - self.first % step
        stop = min(self.resized, -(-(self.first + self.crop) // step) * step)
        if self.denominator == 1 and stop - start <= 4 * self.crop:
            return start, stop
        return self.first, self.first + self.crop


def resize_and_crop(picture: Picture, preprocessing: Preprocessing) -> Pixels:
    """Resize the short side to `preprocessing.resize`, antialiased, and keep the centre.

    Args:
        picture: Any size from 1 × 1; extreme shapes cost no more memory than square ones.
        preprocessing: What the network was trained with.

    Returns:
        uint8 (crop, crop, 3), read-only.
    """
    x, y = _axes(picture, preprocessing)
    top, bottom = y.needed()
    bands = list(_first_pass(picture, x, y.samples, top, bottom))  # bytes of (rows, crop, 3) each
    return _second_pass(bands, y, top, bottom)


def _axes(picture: Picture, preprocessing: Preprocessing) -> tuple[_Axis, _Axis]:
    """Work out x and y of the upright picture, with torchvision's roundings (`Resize`, `CenterCrop`)."""
    orientation = picture.orientation
    width, height = picture.width, picture.height
    if orientation.swap:
        width, height = height, width
    short = min(width, height)

    def axis(length: int, mirrored: bool) -> _Axis:
        crop = preprocessing.crop
        resized = preprocessing.resize if length == short else int(preprocessing.resize * length / short)
        return _Axis(length, picture.denominator, resized, round((resized - crop) / 2.0), crop, mirrored)

    return axis(width, orientation.mirror_x), axis(height, orientation.mirror_y)


def _first_pass(picture: Picture, x: _Axis, samples_y: int, top: int, bottom: int) -> Iterator[bytes]:
    """Yield rows `top` to `bottom` resized along x and turned upright: bytes of (rows, crop, 3)."""
    left, right = x.needed()
    rows = max(1, _BAND_PIXELS // (right - left))
    for start in range(top, bottom, rows):
        stop = min(start + rows, bottom)
        box = _stored_box(picture.orientation, (left, start, right, stop), x.samples, samples_y)
        yield _resize_along_x(picture, x, left, right, box)


def _stored_box(
    orientation: Orientation, box: tuple[int, int, int, int], width: int, height: int
) -> tuple[int, int, int, int]:
    """Return where a box of the upright picture, `width` by `height`, is stored."""
    left, top, right, bottom = box
    if orientation.mirror_x:
        left, right = width - right, width - left
    if orientation.mirror_y:
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if orientation.swap else (left, top, right, bottom)


def _resize_along_x(picture: Picture, x: _Axis, left: int, right: int, box: tuple[int, int, int, int]) -> bytes:
    orientation = picture.orientation
    width, height = box[2] - box[0], box[3] - box[1]
    start, extent = x.position(x.first) - left, x.extent(x.crop)
    if orientation.mirror_x:
        start = right - left - start - extent
    start = max(0.0, start)
    if start + extent > right - left:  # by a rounding error
        extent = math.nextafter(right - left - start, 0)
    if orientation.swap:
        size, crop_box = (width, x.crop), CropBox(0, start, width, extent)
    else:
        size, crop_box = (x.crop, height), CropBox(start, 0, extent, height)
    source = ImageData(width, height, PixelType.U8x3, picture.read(*box))
    target = ImageData(*size, PixelType.U8x3)
    _resizer().resize(source, target, ResizeOptions(_BILINEAR, use_alpha=False, crop_box=crop_box))
    resized: bytes = target.get_buffer()
    if orientation.transpose is None:
        return resized
    return Image.frombuffer("RGB", size, resized, "raw", "RGB", 0, 1).transpose(orientation.transpose).tobytes()


def _resizer() -> Resizer:
    """Return this thread's own: one works for one thread at a time."""
    try:
        resizer: Resizer = _local.resizer
    except AttributeError:
        resizer = _local.resizer = Resizer()
    return resizer


def _second_pass(bands: list[bytes], y: _Axis, top: int, bottom: int) -> Pixels:
    """Resize rows `top` to `bottom`, bytes of (bottom - top, crop, 3), along y."""
    first, last = y.exact_outputs()
    start, stop = y.position(first), y.position(last)
    base, end = min(top, math.floor(start)), max(bottom, math.ceil(stop))
    # Pillow's fastest layout has four bytes a pixel; along y, any grouping of a row's bytes is as good as another.
    row = y.crop * _CHANNELS
    mode, width = ("RGBX", row // 4) if row % 4 == 0 else ("L", row)
    # Rows around those that the crop depends on are there for their position only.
    rows = b"".join([bytes((top - base) * row), *bands, bytes((end - bottom) * row)])
    image = Image.frombuffer(mode, (width, end - base), rows, "raw", mode, 0, 1)
    box = (0, start - base, width, stop - base)
    resized = image.resize((width, last - first), Image.Resampling.BILINEAR, box=box)
    pixels = np.frombuffer(resized.tobytes(), np.uint8).reshape(last - first, y.crop, _CHANNELS)
    return pixels[y.first - first :][: y.crop]
