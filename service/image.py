"""Bytes to pixels: what a client sent becomes what the network takes, or one of a few errors.

    body ──sniff──▶ format ──┬─ jpeg.read_jpeg ─────▶ Picture ──resample.resize_and_crop──▶ uint8 (crop, crop, 3)
                             └─ raster.read_raster ─▶

Formats are recognised by their first bytes, whatever the client says they are, and only the one that was recognised
is let at the rest. Everything here may run in several threads at once; the heavy parts release the interpreter lock.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.contract import Preprocessing
from service.errors import BadRequest, CorruptImage, ServiceError, TooLarge, UnsupportedImage
from service.jpeg import read_jpeg, without_metadata
from service.raster import Format, quieten_pillow, read_raster
from service.resample import Picture, resize_and_crop

_log = logging.getLogger(__name__)

_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes: OS/2, and Windows' versions


@dataclass(frozen=True)
class Limits:
    """What decoding may cost.

    Attributes:
        max_pixels: Most pixels that are decoded, read from the header before anything is. Full-frame cameras make
            61 megapixels. Of WebP, which takes four times the memory, a quarter of it. One decode then holds at most
            400 MiB (6 bytes a pixel: a progressive JPEG's coefficients), a camera's JPEG less than 40 MiB.
    """

    max_pixels: int = 1 << 26


class Decoder:
    """Decodes images for one network.

    Safe to share between threads.
    """

    def __init__(self, preprocessing: Preprocessing, limits: Limits = Limits()) -> None:
        self.preprocessing = preprocessing
        self.limits = limits
        quieten_pillow()

    def decode(self, body: bytes | bytearray | memoryview, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Decode an image, turn it upright, resize it and crop its centre.

        Args:
            body: JPEG, PNG, WebP, GIF (its first frame), BMP or TIFF.
            out: Where to write the pixels, uint8 (crop, crop, 3), contiguous; a new array if None.

        Returns:
            RGB pixels, uint8 (crop, crop, 3): `out`, where it was given. Transparent parts are white.

        Raises:
            BadRequest: the body is empty.
            UnsupportedImage: not an image, or of another format.
            CorruptImage: an image, but truncated or corrupt.
            TooLarge: more pixels than the limit.
        """
        if out is None:
            out = np.empty((self.preprocessing.crop, self.preprocessing.crop, 3), np.uint8)
        try:
            resize_and_crop(self._read(bytes(body)), self.preprocessing, out)
        except ServiceError:
            raise
        except MemoryError as error:
            raise TooLarge("the image takes more memory than there is") from error
        except Exception as error:
            _log.warning("an image made the decoder fail", exc_info=True)
            raise CorruptImage("the image does not decode") from error
        return out

    def _read(self, body: bytes) -> Picture:
        image_format = sniff(body)
        if image_format != "JPEG":
            return read_raster(body, image_format, self.limits.max_pixels)
        picture = read_jpeg(body, self.limits.max_pixels, self.preprocessing.resize)
        if picture is None:
            picture = read_raster(without_metadata(body), image_format, self.limits.max_pixels)
        return picture


def sniff(body: bytes) -> Format:
    """Tell an image's format from its first bytes.

    Raises:
        BadRequest: the body is empty.
        UnsupportedImage: it is none of the formats that are allowed.
    """
    if not body:
        raise BadRequest("the body is empty")
    for signature, image_format in _SIGNATURES:
        if body.startswith(signature):
            return image_format
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "WEBP"
    # "BM" alone begins many a text: the size of the header that follows must be one of those there are.
    if body.startswith(b"BM") and int.from_bytes(body[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    raise UnsupportedImage("not an image in a format that is supported: JPEG, PNG, WebP, GIF, BMP, TIFF")
