"""JPEG by libjpeg-turbo called directly: two thirds of the time that Pillow takes, and the same pixels."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from service.errors import CorruptImage, TooLarge
from service.exif import read_orientation
from service.resample import UPRIGHT, Orientation, Picture, Pixels

# From this many pixels on, a photo is decoded at a reduced scale, as long as DCT_MARGIN times the side that it is
# resized to remains: the inverse DCT then averages what the resize would have averaged. docs/performance.md has the
# differences that this makes; below the threshold there are none.
REDUCE_FROM_PIXELS = 12_000_000
DCT_MARGIN = 3

# A scan costs a pass over all coefficients, however few bytes it has (Kornblum et al., *Two issues with the JPEG
# standard*, libjpeg-turbo project): 1.2 ns a pixel, so that this much takes 1.3 s. Encoders write about 10 scans.
MAX_SCANNED_PIXELS = 1 << 30
MAX_SEGMENTS = 4096

# Markers: ITU-T T.81, table B.1.
_SOS, _APP0, _APP1, _ADOBE, _APP15, _COM = 0xDA, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG and DAC lie between the frame headers
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RSTn: no length, no content
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_DECODED_BY_CARDS = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended and progressive, with Huffman codes
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_FRAME_HEADER = struct.Struct(">B2xxHHB")  # marker, (length, precision,) height, width, components: T.81, B.2.2
_EXIF = b"Exif\0\0"
_PICTURE_LOST = ("Corrupt JPEG data", "Premature end")  # libjpeg's words, jerror.h


@dataclass(frozen=True, slots=True)
class _Header:
    """What stands before the first scan."""

    frame: int  # marker
    width: int
    height: int
    components: int
    components_in_scan: int
    orientation: Orientation
    precision: int  # bits of a sample
    ycc: bool  # what three components are, as far as is said: an Adobe segment or their names can say RGB


def read_jpeg(body: bytes, max_pixels: int, resize: int) -> Picture | None:
    """Decode a JPEG.

    Args:
        body: The file.
        max_pixels: Most pixels that are decoded.
        resize: Short side in pixels that the picture will be resized to: a large one is decoded no larger than
            that needs.

    Returns:
        The picture, or None where libjpeg-turbo objects to something that need not have harmed the picture (an odd
        header, say): Pillow is to decide.

    Raises:
        CorruptImage: truncated, or its data do not decode.
        TooLarge: more than `max_pixels`, or many more scans than encoders write.
    """
    header = _read_header(body)
    _check(header, body, max_pixels)
    width, height = header.width, header.height
    denominator = _denominator(width, height, resize)
    colorspace = "CMYK" if header.components == 4 else "RGB"
    try:
        if simplejpeg.decode_jpeg_header(body)[:2] != (height, width):
            raise CorruptImage("the JPEG says two things of its size")  # whichever was checked, it is not this one
        samples = simplejpeg.decode_jpeg(
            body,
            colorspace,
            min_height=-(-height // denominator),
            min_width=-(-width // denominator),
            min_factor=denominator,
        )
    except (ValueError, KeyError) as error:
        if str(error).startswith(_PICTURE_LOST):
            raise CorruptImage(f"the JPEG does not decode: {error}") from error
        return None
    if samples.shape[:2] != (-(-height // denominator), -(-width // denominator)):
        return None
    return Picture(width, height, _reader(samples), header.orientation, denominator)


def is_ordinary(body: bytes, max_pixels: int) -> bool:
    """Tell whether `body` is a JPEG that a card decodes as libjpeg-turbo does; nothing but headers is looked at.

    That is one with eight bits in one component or in YCbCr, upright, no larger than what is decoded at full scale, and
    with an end. Cards fill what is missing of a truncated one with grey and call that a picture.

    Raises:
        CorruptImage, TooLarge: see `read_jpeg`.
    """
    if not body.startswith(b"\xff\xd8\xff") or not body.endswith(b"\xff\xd9"):
        return False
    header = _read_header(body)
    _check(header, body, max_pixels)
    return (
        header.frame in _DECODED_BY_CARDS
        and header.precision == 8
        and header.components in (1, 3)
        and header.ycc
        and header.orientation is UPRIGHT
        and header.width * header.height < REDUCE_FROM_PIXELS
    )


def without_metadata(body: bytes) -> bytes:
    """Return the file less its comments and application segments, but Exif and Adobe's (which tells the colours).

    Pillow parses profiles and multi-picture data as it opens a file; what it need not see cannot harm.
    """
    parts, end = [body[:2]], 2
    for marker, start, stop in _segments(body):
        if marker == _SOS:
            break
        end = stop
        metadata = _APP0 <= marker <= _APP15 or marker == _COM
        if not metadata or marker == _ADOBE or body.startswith(_EXIF, start + 4):
            parts.append(body[start:end])
    return b"".join([*parts, body[end:]])


def _check(header: _Header, body: bytes, max_pixels: int) -> None:
    """Refuse what would cost more than a picture of its bytes can.

    Raises:
        CorruptImage: too few bytes for its pixels: with Huffman codes each block of 8 x 8 takes a bit at least.
        TooLarge: more than `max_pixels`, or too many scans of so many pixels.
    """
    pixels = header.width * header.height
    if pixels > max_pixels:
        size = f"{header.width} x {header.height}"
        raise TooLarge(f"the JPEG is {size} pixels; at most {max_pixels} are decoded")
    if header.frame not in _ARITHMETIC and pixels > 64 * 8 * len(body):
        raise CorruptImage("the JPEG is truncated: it has too few bytes for its pixels")
    if header.frame in _SEQUENTIAL and header.components_in_scan == header.components:
        return  # the first scan has all there is
    scans = body.count(bytes((0xFF, _SOS)))  # may be in a thumbnail too; never in coded data (T.81, B.1.1.5)
    if scans * pixels > MAX_SCANNED_PIXELS:
        raise TooLarge(f"the JPEG has {scans} scans of {pixels} pixels: more than are decoded")


def _denominator(width: int, height: int, resize: int) -> int:
    """Return by how much the picture's sides can be divided while decoding: 8, 4, 2 or 1."""
    if width * height < REDUCE_FROM_PIXELS:
        return 1
    fitting = (d for d in (8, 4, 2) if min(width, height) >= d * DCT_MARGIN * resize)
    return next(fitting, 1)


def _reader(samples: Pixels) -> Callable[[int, int, int, int], Pixels]:
    """Return how RGB is read from samples (height, width, 3 or 4), RGB or CMYK."""

    def read(left: int, top: int, right: int, bottom: int) -> Pixels:
        return samples[top:bottom, left:right]

    def read_cmyk(left: int, top: int, right: int, bottom: int) -> Pixels:
        size = (right - left, bottom - top)
        # Inverted, as Adobe writes them and Pillow takes all of them to be.
        image = Image.frombuffer("CMYK", size, read(left, top, right, bottom).tobytes(), "raw", "CMYK;I", 0, 1)
        return np.asarray(image.convert("RGB"))

    return read if samples.shape[2] == 3 else read_cmyk


def _read_header(body: bytes) -> _Header:
    """Read the segments up to the first scan.

    Raises:
        CorruptImage: the frame's header or the first scan's is missing.
    """
    frame, in_scan, orientation, adobe = b"", 0, UPRIGHT, b""
    for marker, start, end in _segments(body):
        if marker in _FRAMES:
            frame = body[start + 1 : end]
        elif marker == _SOS:
            in_scan = body[start + 4] if start + 4 < end else 0
        elif marker == _ADOBE:
            adobe = body[start + 4 : end]
        elif marker == _APP1 and orientation is UPRIGHT and body.startswith(_EXIF, start + 4):
            orientation = read_orientation(body[start + 4 : end])
    if len(frame) < _FRAME_HEADER.size or not in_scan:
        raise CorruptImage("the JPEG is truncated or corrupt: it has no picture")
    kind, height, width, components = _FRAME_HEADER.unpack_from(frame)
    rgb = frame[_FRAME_HEADER.size :: 3] == b"RGB" or (adobe.startswith(b"Adobe") and adobe[11:12] == b"\0")
    return _Header(kind, width, height, components, in_scan, orientation, frame[3], not rgb)


def _segments(body: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the segments up to and with the first scan's header (T.81, B.1.1.4).

    Raises:
        CorruptImage: more segments than any picture has.
    """
    position, size = 2, len(body)
    for _ in range(MAX_SEGMENTS):
        if position + 4 > size or body[position] != 0xFF:
            return
        marker = body[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _BARE:
            position += 2
            continue
        end = position + 2 + int.from_bytes(body[position + 2 : position + 4])
        yield marker, position, min(end, size)
        if marker == _SOS or end > size:
            return
        position = end
    raise CorruptImage(f"the JPEG has more than {MAX_SEGMENTS} segments")
