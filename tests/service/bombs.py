"""Small files that ask for much; `tests.service.costs` measures what decoding one costs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

from service.image import Decoder
from tests.service.images import chunk, encode, exif, png, preprocessing, tiff

_SHORT, _LONG = 3, 4


def bombs() -> Iterator[tuple[str, bytes]]:
    yield from _dimensions()
    yield from _metadata()
    yield from _jpegs()


def _zeros(count: int) -> bytes:
    """Return `count` zero bytes, deflated without ever being there in full."""
    compressor = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [compressor.compress(block[: min(len(block), count - i)]) for i in range(0, count, len(block))]
    return b"".join([*parts, compressor.flush()])


def _dimensions() -> Iterator[tuple[str, bytes]]:
    """Dimensions over the limit, some with all the data that they promise."""
    header = struct.pack(">IIBBBBB", 10000, 10000, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", _zeros(10000 * 16001))
    signature, end = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")
    yield "png-10000", signature + chunk(b"IHDR", header) + data + end
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 0)
    yield "png-largest", signature + chunk(b"IHDR", header) + data + end

    lossless = b"\x2f" + ((16383) | (16383 << 14)).to_bytes(4, "little") + bytes(64)
    yield "webp-lossless", _riff(b"VP8L" + struct.pack("<I", len(lossless)) + lossless + b"\0")
    lossy = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383) + bytes(64)
    yield "webp-lossy", _riff(b"VP8 " + struct.pack("<I", len(lossy)) + lossy)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    animated = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    canvas = animated.index(b"VP8X") + 12
    yield "webp-canvas", animated[:canvas] + (11999).to_bytes(3, "little") * 2 + animated[canvas + 6 :]

    rows = _zeros(10000 * 10000)
    yield "tiff-10000", _deflated_tiff(10000, 10000, rows)
    tiles = {322: (_LONG, 10000), 323: (_LONG, 10000), 324: (_LONG, 200), 325: (_LONG, len(rows))}
    yield "tiff-tile", _deflated_tiff(10, 10, rows, tiles)
    yield "tiff-rows-per-strip", _deflated_tiff(10, 10, rows, {278: (_LONG, 2**32 - 1)})

    gif = encode(Image.new("P", (8, 8)), "GIF")
    yield "gif-screen", gif[:6] + struct.pack("<HH", 65535, 65535) + gif[10:]
    image = gif.index(b",", 13)
    yield "gif-frame", gif[: image + 5] + struct.pack("<HH", 65535, 65535) + gif[image + 9 :]

    bmp = encode(Image.new("RGB", (8, 8)), "BMP")
    yield "bmp", bmp[:18] + struct.pack("<ii", 60000, 60000) + bmp[26:]


def _riff(payload: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(payload) + 4) + b"WEBP" + payload


def _deflated_tiff(width: int, height: int, data: bytes, more: dict[int, tuple[int, int]] | None = None) -> bytes:
    tags = {256: (_LONG, width), 257: (_LONG, height), 258: (_SHORT, 8), 259: (_SHORT, 8), 262: (_SHORT, 1)}
    tags |= {277: (_SHORT, 1)}
    strips = {273: (_LONG, 200), 278: (_LONG, height), 279: (_LONG, len(data))}
    tags |= more if more and 322 in more else strips | (more or {})
    return tiff(tags).ljust(200, b"\0") + data


def _metadata() -> Iterator[tuple[str, bytes]]:
    """Small pictures with much around them."""
    row = b"\0" + bytes(12)
    mebibyte = zlib.compress(bytes((1 << 20) - 16), 9)
    profile, text = chunk(b"iCCP", b"x\0\0" + mebibyte), chunk(b"zTXt", b"k\0\0" + mebibyte)
    yield "png-profiles", png(4, 1, row, before=profile * 1000)
    yield "png-texts", png(4, 1, row, before=text * 1000)
    yield "png-chunks", png(4, 1, row, before=chunk(b"aaAa", b"") * 300_000)
    entries = b"".join(struct.pack("<HHII", 1000 + i, 1, 60_000, 8) for i in range(5000))
    block = b"II*\0" + struct.pack("<IH", 8, 5000) + entries + bytes(5000)
    yield "png-exif", png(4, 1, row, before=chunk(b"eXIf", block))
    image = Image.new("RGB", (8, 8))
    yield "jpeg-exif", encode(image, "JPEG", exif=b"Exif\0\0" + block)
    tags = {1000 + i: (_LONG, i) for i in range(60_000)}
    yield "tiff-tags", tiff(tags | {256: (_LONG, 8), 257: (_LONG, 8)})
    gif = encode(Image.new("P", (8, 8)), "GIF")
    start = gif.index(b",", 13)
    comment = b"!\xfe" + (b"\xff" + b"a" * 255) * 20_000 + b"\0"
    yield "gif-comment", gif[:start] + comment + gif[start:]


def _jpegs() -> Iterator[tuple[str, bytes]]:
    image = Image.new("RGB", (64, 64), "red")
    body = encode(image, "JPEG", exif=exif(6))
    frame = body.index(b"\xff\xc0") + 5
    for name, side in (("jpeg-largest", 65500), ("jpeg-truncated", 8000)):
        yield name, body[:frame] + struct.pack(">HH", side, side) + body[frame + 4 :]
    # After a marker without a length, a frame that a reader who takes one to be there passes over for a small one.
    large = body[:frame] + struct.pack(">HH", 65500, 65500) + body[frame + 4 :]
    hidden = (b"\xff\xd0" + large[large.index(b"\xff\xc0") :]).ljust(2 + 0xFFC0, b"\0")
    yield "jpeg-hidden-frame", body[:2] + hidden + body[2:]
    yield "jpeg-segments", body[:2] + b"\xff\xe5\0\2" * 500_000 + body[2:]
    yield "jpeg-fill", body[:2] + b"\xff" * 2_000_000 + body[2:]
    progressive = encode(Image.new("L", (8000, 8000)), "JPEG", progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    many = progressive[:-2] + scan * 100 + progressive[-2:]
    yield "jpeg-scans", many
    # A sampling that libjpeg-turbo's simple interface does not know, so that Pillow would be asked.
    frame = many.index(b"\xff\xc2")
    yield "jpeg-scans-and-odd-sampling", many[: frame + 11] + b"\x44" + many[frame + 12 :]


def handler() -> Callable[[bytes], object]:
    """Return a decoder that has met every format, so that no import is counted."""
    decoder = Decoder(preprocessing())
    for image_format in ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"):
        decoder.decode(encode(Image.new("RGB", (300, 300)), image_format))
    return decoder.decode
