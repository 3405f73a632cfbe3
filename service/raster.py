"""Every format but plain JPEG, by Pillow: into a picture whose RGB is converted piece by piece, as it is read."""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, WebPImagePlugin

from service.errors import CorruptImage, TooLarge, UnsupportedImage
from service.exif import TILE_LENGTH, TILE_WIDTH, read_directory, read_orientation
from service.resample import UPRIGHT, Orientation, Picture, Pixels

# Pillow knows four of the formats from the start; for any other it would import its forty plugins at the first file.
_PLUGINS = (TiffImagePlugin, WebPImagePlugin)

Format = Literal["BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"]

_PNG_SIGNATURE = 8  # bytes
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")  # what the first picture is made of
_MAX_PNG_CHUNKS = 1 << 14  # 128 MiB of libpng's usual 8 KiB
_WEBP_WEIGHT = 4  # Pillow holds 16 bytes for a pixel of WebP while it decodes it, at most 5 for one of the others
# What white may be in files that do not say: the least of these that the picture does not exceed is taken.
_WHITE_LEVELS = (1.0, 255.0, 65535.0, 4294967295.0)


def quieten_pillow() -> None:
    """Keep Pillow's remarks on odd files out of the log: a hostile file can have tens of thousands of them."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    _quieten_libtiff()


def _quieten_libtiff() -> None:
    """Have libtiff keep its errors to itself: it writes them to stderr, and Pillow silences its warnings only.

    What it tells its caller is not changed (TIFFError(3)). Where it cannot be found, it goes on writing.
    """
    with contextlib.suppress(OSError, AttributeError):
        maps = Path("/proc/self/maps").read_text()  # the very library that Pillow has loaded, wherever it came from
        if (found := re.search(r"\s(/\S*/libtiff\S*)$", maps, re.MULTILINE)) is not None:
            ctypes.CDLL(found[1]).TIFFSetErrorHandler(None)


def read_raster(body: bytes, image_format: Format, max_pixels: int) -> Picture:
    """Decode the first picture of a file.

    Args:
        body: The file.
        image_format: The one format that Pillow may take it for.
        max_pixels: Most pixels that are decoded; of WebP, which takes four times the memory, a quarter of it.

    Returns:
        The picture; it holds at most 4 bytes a pixel.

    Raises:
        CorruptImage: truncated or corrupt.
        TooLarge: more than `max_pixels`, or more memory than there is.
        UnsupportedImage: colours that have no plain RGB.
    """
    try:
        if image_format == "WEBP":
            max_pixels //= _WEBP_WEIGHT
        if image_format == "PNG":
            body = _essential_png(body)
        elif image_format == "TIFF":
            _check_tiff(body, max_pixels)
        image = _load(body, image_format, max_pixels)
        if image.mode == "LAB":
            raise UnsupportedImage("images in L*a*b* colours are not supported")
        return Picture(image.width, image.height, _reader(image), _orientation(image))
    except (CorruptImage, TooLarge, UnsupportedImage):
        raise
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge("the image takes more memory than is granted") from error
    except Exception as error:  # plugins raise whatever their parsing ran into, in words that may quote the bytes
        raise CorruptImage(f"the {image_format} is truncated or corrupt") from error


def _check_tiff(body: bytes, max_pixels: int) -> None:
    """Refuse tiles larger than any picture may be: one is decoded whole, however little of it the picture uses."""
    directory = read_directory(body)
    if directory.get(TILE_WIDTH, 0) * directory.get(TILE_LENGTH, 0) > max_pixels:
        raise TooLarge(f"the TIFF's tiles are larger than {max_pixels} pixels")


def _load(body: bytes, image_format: Format, max_pixels: int) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(body), formats=(image_format,))
    width, height = image.size
    if width * height > max_pixels:
        raise TooLarge(f"the {image_format} is {width} x {height} pixels; at most {max_pixels} are decoded")
    if width < 1 or height < 1:
        raise CorruptImage("the image has no pixels")
    image.load()
    return image


def _orientation(image: Image.Image) -> Orientation:
    """Return how a loaded image becomes upright; Pillow turns TIFFs by itself."""
    block = image.info.get("exif")
    return read_orientation(block) if isinstance(block, bytes) and image.format != "TIFF" else UPRIGHT


def _essential_png(body: bytes) -> bytes:
    """Return a PNG less the chunks that its first picture is not made of.

    A profile or text of 1 KiB can inflate to a MiB, and a file can have thousands of them.

    Raises:
        CorruptImage: more chunks than any picture has.
    """
    parts, position = [body[:_PNG_SIGNATURE]], _PNG_SIGNATURE
    for _ in range(_MAX_PNG_CHUNKS):
        if position + 8 > len(body):
            return b"".join(parts)
        length, name = struct.unpack_from(">I4s", body, position)
        end = position + length + 12  # with length, name and CRC
        if name in _PNG_CHUNKS:
            parts.append(body[position:end])
        position = end
    raise CorruptImage(f"the PNG has more than {_MAX_PNG_CHUNKS} chunks")


def _reader(image: Image.Image) -> Callable[[int, int, int, int], Pixels]:
    """Return how RGB is read from a loaded image."""
    convert = _converter(image)

    def read(left: int, top: int, right: int, bottom: int) -> Pixels:
        return np.asarray(convert(image.crop((left, top, right, bottom))))

    return read


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return how parts of an image become RGB: transparent ones over white, deep ones scaled, not clipped."""
    if image.mode.startswith("I;16"):
        key = image.info.get("transparency")
        return lambda part: _scale_levels(part, 65535.0, key)
    if image.mode in ("I", "F"):
        white = _white_level(image.getextrema()[1])
        return lambda part: _scale_levels(part, white, None)
    if image.has_transparency_data:
        return _over_white
    return lambda part: part if part.mode == "RGB" else part.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    grey = image.mode == "La"  # multiplied by its alpha already; Pillow has no direct way from there
    layer = (image.convert("LA") if grey else image).convert("RGBA")
    white = Image.new("RGB", layer.size, "white")
    white.paste(layer, mask=layer.getchannel("A"))
    return white


def _white_level(brightest: Any) -> float:
    return next((level for level in _WHITE_LEVELS if brightest <= level), _WHITE_LEVELS[0])


def _scale_levels(image: Image.Image, white: float, transparent: Any) -> Image.Image:
    """Return grey levels 0 … `white` as RGB 0 … 255; the level `transparent`, if there is one, as white."""
    levels = np.nan_to_num(np.asarray(image).astype(np.float32))  # (height, width)
    grey = np.clip(levels * np.float32(255 / white) + np.float32(0.5), 0, 255).astype(np.uint8)
    if isinstance(transparent, int):
        grey[levels == transparent] = 255
    return Image.fromarray(grey).convert("RGB")
