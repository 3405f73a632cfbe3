"""Every format, mode, depth and orientation comes out right."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.image import Decoder
from tests.service.images import Sample, encode, exif, preprocessing, samples, scene, torchvision_path

SAMPLES = list(samples())
JPEGS = [sample for sample in SAMPLES if sample.name.startswith("jpeg")]
DECODER = Decoder(preprocessing())


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_every_kind_of_image_comes_out_right(sample: Sample) -> None:
    pixels = DECODER.decode(sample.body).astype(int)
    difference = np.abs(pixels - torchvision_path(sample.upright))
    if sample.lossy:
        assert difference.mean() <= sample.tolerance
    else:
        assert difference.max() <= sample.tolerance


@pytest.mark.parametrize("sample", JPEGS, ids=lambda sample: sample.name)
def test_every_jpeg_equals_pillows_decoding(sample: Sample) -> None:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(sample.body)))
    np.testing.assert_array_equal(DECODER.decode(sample.body), torchvision_path(image))


def test_pixels_are_written_where_they_are_wanted() -> None:
    batch = np.zeros((3, 224, 224, 3), np.uint8)
    body = encode(Image.fromarray(scene(300, 200)), "PNG")
    row = DECODER.decode(body, out=batch[1])
    assert np.shares_memory(row, batch)
    np.testing.assert_array_equal(batch[1], DECODER.decode(body))
    assert not batch[0].any()
    assert not batch[2].any()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_every_kind_of_buffer_is_taken(kind: type, image_format: str) -> None:
    body = encode(Image.fromarray(scene(300, 200)), image_format)
    np.testing.assert_array_equal(DECODER.decode(kind(body)), DECODER.decode(body))


def test_threads_do_not_disturb_one_another() -> None:
    bodies = [sample.body for sample in SAMPLES] * 3
    alone = [DECODER.decode(body) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(DECODER.decode, bodies))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_multi_picture_jpeg_gives_its_first_picture() -> None:
    first, second = Image.fromarray(scene(200, 150)), Image.new("RGB", (200, 150), "red")
    body = encode(first, "MPO", save_all=True, append_images=[second])
    np.testing.assert_array_equal(DECODER.decode(body), DECODER.decode(encode(first, "JPEG")))


def test_the_orientation_of_a_thumbnail_is_not_the_pictures() -> None:
    """Exif's second directory describes the thumbnail; only the first counts."""
    image = Image.fromarray(scene(200, 150))
    block = exif(1)
    two = block[:-4] + (8 + 2 + 12 + 4).to_bytes(4, "big") + exif(6, ">")[14:]
    np.testing.assert_array_equal(
        DECODER.decode(encode(image, "JPEG", exif=two)), DECODER.decode(encode(image, "JPEG"))
    )


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", exif(9), exif(0), exif(6)[:16]])
def test_an_orientation_that_makes_no_sense_is_passed_over(block: bytes) -> None:
    image = Image.fromarray(scene(200, 150))
    np.testing.assert_array_equal(
        DECODER.decode(encode(image, "JPEG", exif=block)), DECODER.decode(encode(image, "JPEG"))
    )
