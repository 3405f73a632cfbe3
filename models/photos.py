"""Photo -> the normalised tensor a network of the zoo was trained on, as torchvision evaluates it.

This is for looking at networks here; the service has a faster way to the same pixels, and never imports this.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from models.zoo import IMAGENET_MEAN, IMAGENET_STD

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def find_photos(path: Path) -> list[Path]:
    """Return the image files below a folder, sorted; or the one file that `path` is.

    Raises:
        FileNotFoundError: there are none.
    """
    found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"{path}: no images here ({', '.join(sorted(SUFFIXES))})")
    return found


def load_photo(path: Path, *, resize: int = 256, crop: int = 224) -> Tensor:
    """Return a photo as float32 (3, crop, crop): short side to `resize`, centre crop, normalised.

    Raises:
        OSError: the file cannot be read as an image.
    """
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    short = min(image.size)
    width, height = (int(side * resize / short) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)  # Pillow's is antialiased
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    pixels = np.asarray(image.crop((left, top, left + crop, top + crop)), dtype=np.float32) / 255  # (H, W, 3)
    normalised = (pixels - np.asarray(IMAGENET_MEAN, np.float32)) / np.asarray(IMAGENET_STD, np.float32)
    return torch.from_numpy(normalised).permute(2, 0, 1)
