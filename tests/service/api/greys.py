"""Images of one grey each, which `brightness` tells apart, in every way of sending them."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

Upload = tuple[str, tuple[str, bytes, str]]


def grey(level: int, image_format: str = "PNG", size: tuple[int, int] = (48, 40)) -> bytes:
    """Return an encoded image, all of whose pixels are `level`."""
    encoded = io.BytesIO()
    options = {"lossless": True} if image_format == "WebP" else {}
    Image.new("L", size, level).save(encoded, image_format, **options)
    return encoded.getvalue()


def in_base64(body: bytes) -> str:
    return base64.b64encode(body).decode()


def uploads(*files: bytes | tuple[str, bytes]) -> list[Upload]:
    """Return the files of a multipart form, for httpx."""
    named = [file if isinstance(file, tuple) else (f"{index}.png", file) for index, file in enumerate(files)]
    return [("images", (name, body, "application/octet-stream")) for name, body in named]


def top(predictions: list[dict[str, Any]]) -> int:
    """Return the class that was found most probable."""
    index: int = predictions[0]["index"]
    return index
