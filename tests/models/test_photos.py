from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.photos import find_photos, load_photo
from models.zoo import IMAGENET_MEAN, IMAGENET_STD


def pixels(image: torch.Tensor) -> np.ndarray:
    """Return what was normalised: (H, W, 3) of 0 to 255."""
    restored = image * torch.tensor(IMAGENET_STD)[:, None, None] + torch.tensor(IMAGENET_MEAN)[:, None, None]
    return (restored.permute(1, 2, 0) * 255).numpy()


def test_a_photo_of_the_crops_size_is_only_normalised(tmp_path: Path) -> None:
    original = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    Image.fromarray(original).save(tmp_path / "a.png")
    photo = load_photo(tmp_path / "a.png", resize=224)
    assert photo.shape == (3, 224, 224)
    np.testing.assert_allclose(pixels(photo), original, atol=1e-3)


@pytest.mark.parametrize("size", [(640, 256), (256, 640), (257, 256)])
def test_the_middle_is_kept_and_the_short_side_says_the_scale(size: tuple[int, int], tmp_path: Path) -> None:
    width, height = size
    red = np.broadcast_to(np.arange(width) % 256, (height, width))
    green = np.broadcast_to(np.arange(height)[:, None] % 256, (height, width))
    original = np.stack([red, green, np.zeros_like(red)], axis=2).astype(np.uint8)
    Image.fromarray(original).save(tmp_path / "a.png")
    top, left = round((height - 224) / 2), round((width - 224) / 2)
    expected = original[top : top + 224, left : left + 224]  # the short side is 256 already
    np.testing.assert_allclose(pixels(load_photo(tmp_path / "a.png")), expected, atol=1e-3)


def test_the_orientation_of_the_camera_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (256, 256))
    image.paste((255, 0, 0), (0, 0, 256, 128))  # the upper half is red
    exif = Image.Exif()
    exif[0x0112] = 3  # Orientation: upside down
    image.save(tmp_path / "a.png", exif=exif)
    photo = pixels(load_photo(tmp_path / "a.png"))
    assert photo[-1, 0, 0] == pytest.approx(255, abs=1e-2)
    assert photo[0, 0, 0] == pytest.approx(0, abs=1e-2)


def test_a_grey_photo_has_three_equal_channels(tmp_path: Path) -> None:
    Image.new("L", (300, 300), 77).save(tmp_path / "a.png")
    np.testing.assert_allclose(pixels(load_photo(tmp_path / "a.png")), 77, atol=1e-3)


def test_photos_are_found_below_a_folder_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "n01440764").mkdir()
    for name in ("b.JPEG", "a.png", "n01440764/c.webp", "labels.csv"):
        (tmp_path / name).touch()
    assert find_photos(tmp_path) == [tmp_path / "a.png", tmp_path / "b.JPEG", tmp_path / "n01440764" / "c.webp"]
    assert find_photos(tmp_path / "a.png") == [tmp_path / "a.png"]


def test_no_photos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no images"):
        find_photos(tmp_path)
