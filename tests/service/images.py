"""Images to decode, made here, with what must come out of them worked out without the decoder."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from service.contract import Preprocessing

Pixels = NDArray[np.uint8]


def preprocessing(resize: int = 256, crop: int = 224) -> Preprocessing:
    return Preprocessing(resize=resize, crop=crop, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def torchvision_path(image: Image.Image, resize: int = 256, crop: int = 224) -> Pixels:
    """What torchvision's `Resize` and `CenterCrop` do to a PIL image, by Pillow alone: resize all, then crop."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    longer = int(resize * long / short)
    size = (resize, longer) if width <= height else (longer, resize)
    resized = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - crop) / 2.0), round((size[1] - crop) / 2.0)
    return np.asarray(resized.crop((left, top, left + crop, top + crop)))


def scene(width: int, height: int, seed: int = 0) -> Pixels:
    """Return (height, width, 3): gradients, an off-centre disc and grain; no symmetry that could hide a flip."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(width, height)
    red, green = 255 * x, 255 * y
    blue = 255 * ((x - 0.3) ** 2 + (y - 0.2) ** 2 < 0.04)
    picture = np.stack([red, green, blue], axis=2) + rng.normal(0, 6, (height, width, 3))
    return picture.clip(0, 255).astype(np.uint8)


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG (PNG specification, 5.3)."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colours: int = 2,
    before: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """Return a PNG of rows that have their filter bytes, for what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, int(interlaced))
    data = chunk(b"IDAT", zlib.compress(rows, 6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + data + chunk(b"IEND", b"")


def deep_png(samples: NDArray[np.uint16], colours: int, before: bytes = b"") -> bytes:
    """Return a 16-bit PNG of samples (height, width) or (height, width, channels)."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(width, height, rows, depth=16, colours=colours, before=before)


def exif(orientation: int, order: str = "<") -> bytes:
    """Return an Exif block that holds just the orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 274, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


def tiff(tags: dict[int, tuple[int, int]], data: bytes = b"") -> bytes:
    """Return a little-endian TIFF of entries tag: (type, value), one value each, its data after the directory."""
    entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items())]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + data


@dataclass(frozen=True)
class Sample:
    """An encoded image and the RGB image that it stands for.

    Attributes:
        tolerance: Largest difference in levels of a pixel, after resizing; of the mean, where it was compressed
            with a loss.
    """

    name: str
    body: bytes
    upright: Image.Image
    lossy: bool = False
    tolerance: float = 1.0


def samples(width: int = 150, height: int = 111) -> Iterator[Sample]:
    """Yield every format × mode × depth that is supported, then every format that has it × orientation."""
    rgb = Image.fromarray(scene(width, height))
    images = _variants(rgb)
    yield from _jpegs(images)
    yield from _pngs(images)
    yield from _deep_pngs(np.asarray(rgb))
    yield from _webps_gifs_and_bmps(images)
    yield from _tiffs(images)
    yield from _deep_tiffs(np.asarray(images["L"]))
    yield from _orientations(rgb)


def _variants(rgb: Image.Image) -> dict[str, Image.Image]:
    """The scene in the modes that Pillow converts to without a choice."""
    return {
        "RGB": rgb,
        "L": rgb.convert("L"),
        "1": rgb.convert("1"),
        "P": rgb.quantize(200),
        "CMYK": rgb.convert("CMYK"),
        "RGBA": _with_alpha(rgb),
        "LA": _with_alpha(rgb.convert("L")),
    }


def _with_alpha(image: Image.Image) -> Image.Image:
    width, height = image.size
    alpha = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width))
    result = image.copy()
    result.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    return result


def over_white(image: Image.Image) -> Image.Image:
    """Blend over white in floating point: c·a + 255·(1 - a)."""
    layers = np.asarray(image.convert("RGBA")).astype(np.float64)
    alpha = layers[..., 3:] / 255
    return Image.fromarray((layers[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8))


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """The textbook's formula: each of red, green and blue is (1 - ink)·(1 - black)."""
    inks = np.asarray(image).astype(np.float64) / 255
    return Image.fromarray((255 * (1 - inks[..., :3]) * (1 - inks[..., 3:])).round().astype(np.uint8))


def _jpegs(images: dict[str, Image.Image]) -> Iterator[Sample]:
    rgb, cmyk = images["RGB"], images["CMYK"]
    for subsampling in (0, 1, 2):
        body = encode(rgb, "JPEG", quality=92, subsampling=subsampling)
        yield Sample(f"jpeg-rgb-{subsampling}", body, rgb, lossy=True, tolerance=5)
    options: dict[str, dict[str, Any]] = {
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 3},
        "rgb-inside": {"keep_rgb": True},
    }
    for name, option in options.items():
        yield Sample(f"jpeg-{name}", encode(rgb, "JPEG", quality=92, **option), rgb, lossy=True, tolerance=5)
    yield Sample("jpeg-grey", encode(images["L"], "JPEG", quality=92), images["L"], lossy=True, tolerance=3)
    yield Sample("jpeg-cmyk", encode(cmyk, "JPEG", quality=95), _cmyk_to_rgb(cmyk), lossy=True, tolerance=4)
    inverted = 255 - np.asarray(cmyk)  # as Adobe writes it
    ycck = simplejpeg.encode_jpeg(np.ascontiguousarray(inverted), 95, "CMYK", "444")
    yield Sample("jpeg-ycck", ycck, _cmyk_to_rgb(cmyk), lossy=True, tolerance=4)


def _pngs(images: dict[str, Image.Image]) -> Iterator[Sample]:
    for mode in ("RGB", "L", "1", "P"):
        yield Sample(f"png-{mode}", encode(images[mode], "PNG"), images[mode].convert("RGB"))
    for mode in ("RGBA", "LA"):
        yield Sample(f"png-{mode}", encode(images[mode], "PNG"), over_white(images[mode]), tolerance=2)
    for bits in (1, 2, 4):
        few = images["RGB"].quantize(1 << bits)
        yield Sample(f"png-P-{bits}-bit", encode(few, "PNG", bits=bits), few.convert("RGB"))
    palette = images["P"]
    body = encode(palette, "PNG", transparency=bytes(range(200)))
    yield Sample("png-P-transparent", body, _palette_over_white(palette, np.arange(200)), tolerance=2)
    grey = np.asarray(images["L"])
    yield Sample("png-L-transparent", encode(images["L"], "PNG", transparency=77), _keyed(grey, 77))


def _palette_over_white(image: Image.Image, alphas: NDArray[Any]) -> Image.Image:
    layer = image.convert("RGB")
    layer.putalpha(Image.fromarray(alphas.astype(np.uint8)[np.asarray(image)]))
    return over_white(layer)


def _keyed(grey: Pixels, key: int) -> Image.Image:
    return Image.fromarray(np.where(grey == key, 255, grey).astype(np.uint8)).convert("RGB")


def _deep_pngs(rgb: Pixels) -> Iterator[Sample]:
    deep = rgb.astype(np.uint16) * 257  # 255 becomes 65,535
    yield Sample("png-RGB-16-bit", deep_png(deep, colours=2), Image.fromarray(rgb))
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    levels = grey.astype(np.uint16) * 257
    yield Sample("png-L-16-bit", deep_png(levels, colours=0), Image.fromarray(grey))
    key = struct.pack(">H", 77 * 257)
    keyed = deep_png(levels, colours=0, before=chunk(b"tRNS", key))
    yield Sample("png-L-16-bit-transparent", keyed, _keyed(grey, 77))
    alpha = np.asarray(_with_alpha(Image.fromarray(rgb)))
    body = deep_png(alpha.astype(np.uint16) * 257, colours=6)
    yield Sample("png-RGBA-16-bit", body, over_white(Image.fromarray(alpha)), tolerance=2)
    yield Sample("png-interlaced", _interlaced_png(rgb), Image.fromarray(rgb))


def _interlaced_png(rgb: Pixels) -> bytes:
    """Adam7 (PNG specification, 8.2): (start x, start y, step x, step y) of the seven passes."""
    height, width = rgb.shape[:2]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(
        b"\0" + np.ascontiguousarray(row).tobytes()
        for x, y, step_x, step_y in passes
        for row in rgb[y::step_y, x::step_x]
    )
    return png(width, height, rows, interlaced=True)


def _webps_gifs_and_bmps(images: dict[str, Image.Image]) -> Iterator[Sample]:
    rgb, rgba, palette = images["RGB"], images["RGBA"], images["P"]
    yield Sample("webp", encode(rgb, "WEBP", quality=95), rgb, lossy=True, tolerance=4)
    yield Sample("webp-lossless", encode(rgb, "WEBP", lossless=True), rgb)
    body = encode(rgba, "WEBP", lossless=True, exact=True)
    yield Sample("webp-transparent", body, over_white(rgba), tolerance=2)
    other = Image.new("RGB", rgb.size, "red")
    body = encode(rgb, "WEBP", lossless=True, save_all=True, append_images=[other])
    yield Sample("webp-animated", body, rgb)
    for mode in ("P", "L", "1"):
        yield Sample(f"gif-{mode}", encode(images[mode], "GIF"), images[mode].convert("RGB"))
    body = encode(palette, "GIF", transparency=3)
    yield Sample("gif-transparent", body, _palette_over_white(palette, np.where(np.arange(256) == 3, 0, 255)))
    body = encode(palette, "GIF", save_all=True, append_images=[other.quantize(2)])
    yield Sample("gif-animated", body, palette.convert("RGB"))
    for mode in ("RGB", "L", "1", "P"):
        yield Sample(f"bmp-{mode}", encode(images[mode], "BMP"), images[mode].convert("RGB"))
    yield Sample("bmp-32-bit", encode(rgba, "BMP"), rgba.convert("RGB"))  # the fourth byte is reserved, not alpha


def _tiffs(images: dict[str, Image.Image]) -> Iterator[Sample]:
    for mode in ("RGB", "L", "1", "P"):
        yield Sample(f"tiff-{mode}", encode(images[mode], "TIFF"), images[mode].convert("RGB"))
    for mode in ("RGBA", "LA"):
        yield Sample(f"tiff-{mode}", encode(images[mode], "TIFF"), over_white(images[mode]), tolerance=2)
        yield Sample(f"tiff-{mode}-associated", _associated_tiff(images[mode]), over_white(images[mode]), tolerance=2)
    yield Sample("tiff-CMYK", encode(images["CMYK"], "TIFF"), _cmyk_to_rgb(images["CMYK"]), tolerance=2)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "zstd", "lzma"):
        body = encode(images["RGB"], "TIFF", compression=compression)
        yield Sample(f"tiff-{compression}", body, images["RGB"])
    body = encode(images["1"], "TIFF", compression="group4")
    yield Sample("tiff-group4", body, images["1"].convert("RGB"))
    body = encode(images["RGB"], "TIFF", compression="jpeg", quality=95)
    yield Sample("tiff-jpeg", body, images["RGB"], lossy=True, tolerance=3)


def _associated_tiff(image: Image.Image) -> bytes:
    """Colours multiplied by alpha, as the tag ExtraSamples may say they are (TIFF 6.0, section 18)."""
    layers = np.asarray(image).astype(np.float64)
    layers[..., :-1] *= layers[..., -1:] / 255
    body = encode(Image.fromarray(layers.round().astype(np.uint8)), "TIFF")
    entry = struct.pack("<HHI", 338, 3, 1)  # tag, SHORT, one of them
    assert body.count(entry + b"\2") == 1
    return body.replace(entry + b"\2", entry + b"\1")


def _deep_tiffs(grey: Pixels) -> Iterator[Sample]:
    """Greys of more than 8 bits, in each of the ranges that such files use."""
    expected = Image.fromarray(grey)
    ranges: dict[str, NDArray[Any]] = {
        "I;16": grey.astype(np.uint16) * 257,
        "I": grey.astype(np.int32) * 257,
        "F-to-1": grey.astype(np.float32) / 255,
        "F-to-255": grey.astype(np.float32),
        "F-to-65535": grey.astype(np.float32) * 257,
    }
    for name, levels in ranges.items():
        levels[0, 0] = levels.dtype.type(255 * (levels.max() / grey.max()))  # so that white occurs
        yield Sample(f"tiff-{name}", encode(Image.fromarray(levels), "TIFF"), expected)


def _orientations(rgb: Image.Image) -> Iterator[Sample]:
    stored: dict[int, Callable[[Image.Image], Image.Image]] = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        # The camera was turned: what it stored has to be turned back (6: by 90° clockwise, 8: the other way).
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }
    for orientation, store in stored.items():
        image, block = store(rgb), exif(orientation, "<>"[orientation % 2])
        body = encode(image, "JPEG", quality=95, subsampling=0, exif=block)
        yield Sample(f"jpeg-orientation-{orientation}", body, rgb, lossy=True, tolerance=5)
        yield Sample(f"png-orientation-{orientation}", encode(image, "PNG", exif=block), rgb)
        body = encode(image, "WEBP", lossless=True, exif=block)
        yield Sample(f"webp-orientation-{orientation}", body, rgb)
        for compression in ("raw", "tiff_lzw"):
            body = encode(image, "TIFF", compression=compression, tiffinfo={274: orientation})
            yield Sample(f"tiff-{compression}-orientation-{orientation}", body, rgb)
