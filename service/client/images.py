"""Whatever a caller has, as the bytes of a file."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Source: TypeAlias = (
        str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[np.uint8]
    )
else:
    Source = Any

# What PNG holds without loss; other modes (CMYK, L*a*b*, floating point) are sent as RGB.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


def encoded(image: Source) -> bytes:
    """Return an image as the bytes of a file.

    Args:
        image: A path, the bytes of a file, a file opened for reading bytes, a Pillow image, or an array of pixels:
            uint8, (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA.

    Raises:
        OSError: the file cannot be read.
        TypeError: it is none of these.
    """
    if isinstance(image, str | os.PathLike):
        return Path(image).read_bytes()
    if isinstance(image, bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if callable(read := getattr(image, "read", None)):
        return _read(read())
    pillow = sys.modules.get("PIL.Image")  # whoever has a picture of Pillow's has loaded it
    if pillow is not None and isinstance(image, pillow.Image):
        return _as_png(image)
    if hasattr(image, "__array__"):
        return _as_png(_picture(image))
    raise TypeError(f"{type(image).__name__} is no image: a path, bytes, a file, a Pillow image or an array is")


def _read(content: object) -> bytes:
    if not isinstance(content, bytes):
        raise TypeError("the file is opened for text: open it with mode 'rb'")
    return content


def _picture(pixels: Any) -> Image.Image:
    import numpy as np
    from PIL import Image

    array = np.asarray(pixels)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise TypeError(f"an array of {array.dtype} {array.shape}; pixels are uint8 (H, W), (H, W, 3) or (H, W, 4)")
    return Image.fromarray(array)


def _as_png(image: Image.Image) -> bytes:
    """Without loss, and quickly rather than small."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    file = io.BytesIO()
    (upright if upright.mode in _PNG_MODES else upright.convert("RGB")).save(file, "PNG", compress_level=1)
    return file.getvalue()
