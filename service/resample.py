"""Resize and centre crop as torchvision's PIL path does them, level for level, computing only what the crop keeps.

    stored samples ──read──▶ bands ──turn upright──▶ ──along x──▶ rows (h, crop, 3) ──along y──▶ pixels (crop, crop, 3)

Pillow, and so torchvision, resizes along x, rounds to whole levels, then along y, and rounds again. `resample.c` does
the same with the same weights, so every value is the same. (Pillow 13 begins with y where a picture is more than twice
as tall as wide and becomes smaller; that can differ by one level.) Pillow would resize what the crop throws away too,
and takes four times as long for the rest.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.contract import Preprocessing
from service.native import LIBRARY, address, load

Pixels = NDArray[np.uint8]

_BAND_PIXELS = 1 << 20  # read at a time: bounds the copies that reading may make to 3 MiB each
_CHANNELS = 3
_MOST_OUTPUTS = 2**31 - 1  # that an axis can number


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a stored picture becomes upright: its axes swapped or not, then mirrored along x, along y."""

    swap: bool = False
    mirror_x: bool = False
    mirror_y: bool = False


UPRIGHT = Orientation()
# By the value of Exif's tag 274 (CIPA DC-008, Orientation).
ORIENTATIONS = {
    1: UPRIGHT,
    2: Orientation(False, True, False),
    3: Orientation(False, True, True),
    4: Orientation(False, False, True),
    5: Orientation(True, False, False),
    6: Orientation(True, True, False),
    7: Orientation(True, True, True),
    8: Orientation(True, False, True),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture as it is stored.

    Attributes:
        width: Stored width in pixels.
        height: Stored height in pixels.
        read: (left, top, right, bottom) in samples to their RGB levels, uint8 (bottom - top, right - left, 3), whose
            last axis is contiguous.
        orientation: How it becomes upright.
        denominator: Pixels per sample along each axis: more than 1 where it was decoded at a reduced scale.
    """

    width: int
    height: int
    read: Callable[[int, int, int, int], Pixels]
    orientation: Orientation = UPRIGHT
    denominator: int = 1


class Axis(ctypes.Structure):
    """One axis of the upright picture; `resample.c` has the same. Outputs `first` to `first + count` are kept."""

    _fields_ = (
        ("origin", ctypes.c_double),  # where output 0 begins, in samples
        ("scale", ctypes.c_double),  # samples that an output covers
        ("length", ctypes.c_int64),  # in samples
        ("base", ctypes.c_int64),  # the first of the samples that are handed over
        ("first", ctypes.c_int32),
        ("count", ctypes.c_int32),
    )
    origin: float
    scale: float
    length: int
    base: int
    first: int
    count: int

    def needed(self) -> tuple[int, int]:
        """Return the range of samples that the kept outputs depend on, by the arithmetic of `weigh` in resample.c."""
        support = max(1.0, self.scale)
        start = self.origin + (self.first + 0.5) * self.scale - support + 0.5
        stop = self.origin + (self.first + self.count - 1 + 0.5) * self.scale + support + 0.5
        return max(0, int(start)), min(self.length, int(stop))

    def most_taps(self) -> int:
        """Return on how many samples one output depends at most, as resample.c has it."""
        return 2 * int(max(1.0, self.scale)) + 3


def _library(path: Path = LIBRARY) -> ctypes.CDLL:
    address, size, step, axis = ctypes.c_void_p, ctypes.c_int64, ctypes.c_ssize_t, ctypes.POINTER(Axis)
    along_x = (address, step, step, size, size, axis, address)
    return load(ctypes.CDLL, path, along_x=along_x, along_x_and_y=(*along_x, address, axis, address))


_LIBRARY = _library()


def resize_and_crop(picture: Picture, preprocessing: Preprocessing, out: Pixels) -> None:
    """Resize the short side to `preprocessing.resize`, antialiased, and keep the centre.

    Args:
        picture: Any size from 1 × 1; extreme shapes cost no more memory than square ones.
        preprocessing: What the network was trained with.
        out: Where the pixels go, uint8 (crop, crop, 3), contiguous.

    Raises:
        MemoryError: there is not enough.
    """
    x, y = axes(picture.width, picture.height, preprocessing, picture.orientation, picture.denominator)
    x.base, right = x.needed()
    y.base, bottom = y.needed()
    rows = np.empty((bottom - y.base, x.count, _CHANNELS), np.uint8)
    for top, band in _bands(picture, (x.base, y.base, right, bottom), (x.length, y.length)):
        along_x = (*_pixels(band), x, address(rows[top - y.base :]))
        if top + len(band) < bottom:
            _checked(_LIBRARY.along_x(*along_x))
        else:
            _checked(_LIBRARY.along_x_and_y(*along_x, address(rows), y, address(out)))


def axes(
    width: int, height: int, preprocessing: Preprocessing, orientation: Orientation = UPRIGHT, denominator: int = 1
) -> tuple[Axis, Axis]:
    """Work out x and y of the upright picture, with torchvision's roundings (`Resize`, `CenterCrop`)."""
    if orientation.swap:
        width, height = height, width
    short = min(width, height)

    def axis(length: int, mirrored: bool) -> Axis:
        crop = preprocessing.crop
        resized = preprocessing.resize if length == short else int(preprocessing.resize * length / short)
        samples = -(-length // denominator)
        # Of a reduced picture, the last sample stored may reach beyond its end; mirrored, that is the first one.
        origin = samples - length / denominator if mirrored else 0.0
        scale, first = length / (resized * denominator), round((resized - crop) / 2.0)
        if first + crop > _MOST_OUTPUTS:  # a line of 2^26 pixels becomes one of 2^34: begin with those that are kept
            origin, first = origin + first * scale, 0
        return Axis(origin, scale, samples, 0, first, crop)

    return axis(width, orientation.mirror_x), axis(height, orientation.mirror_y)


def _bands(picture: Picture, box: tuple[int, int, int, int], size: tuple[int, int]) -> Iterator[tuple[int, Pixels]]:
    """Yield a box of the upright picture, `size` samples in all, in bands of rows; each with its first row's number."""
    left, first, right, last = box
    rows = max(1, _BAND_PIXELS // (right - left))
    for top in range(first, last, rows):
        bottom = min(top + rows, last)
        band = picture.read(*_stored_box(picture.orientation, (left, top, right, bottom), *size))
        yield top, _upright(band, picture.orientation)


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


def _upright(band: Pixels, orientation: Orientation) -> Pixels:
    """Return the same memory seen the right way up."""
    if orientation.swap:
        band = band.swapaxes(0, 1)
    if orientation.mirror_x:
        band = band[:, ::-1]
    return band[::-1] if orientation.mirror_y else band


def _pixels(band: Pixels) -> tuple[int, int, int, int, int]:
    """Return what `along_x` is told of a band: where it is, how far apart its pixels and its rows are, its size."""
    rows, width, _ = band.shape
    line, step, _ = band.strides
    return address(band), step, line, width, rows


def _checked(result: int) -> None:
    if result != 0:
        raise MemoryError
