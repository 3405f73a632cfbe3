"""Whatever the bytes are, decoding answers with pixels or with a service error below 500, at a bounded cost."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from service.errors import BadRequest, CorruptImage, ServiceError, TooLarge, UnsupportedImage
from service.image import Decoder, Limits
from tests.conftest import ROOT
from tests.service.bombs import bombs
from tests.service.costs import costs
from tests.service.images import Sample, chunk, encode, preprocessing, samples, scene

SAMPLES = list(samples())
KINDS = [sample for sample in SAMPLES if "orientation" not in sample.name]
DECODER = Decoder(preprocessing())
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def outcome(body: bytes) -> type[ServiceError] | None:
    """Decode, and return the kind of error, or None; anything else that is raised fails the test."""
    refusal = None
    try:
        pixels = DECODER.decode(body)
    except ServiceError as error:
        refusal = error
    if refusal is not None:
        assert refusal.status < 500
        assert refusal.detail
        return type(refusal)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    return None


def test_an_error_quotes_neither_the_bytes_nor_addresses() -> None:
    for sample in KINDS:
        with pytest.raises(CorruptImage) as error:
            DECODER.decode(sample.body[:60])
        assert "0x" not in error.value.detail
        assert "b'" not in error.value.detail


def test_an_empty_body_is_a_bad_request() -> None:
    assert outcome(b"") is BadRequest


@pytest.mark.parametrize("body", [b"\0", b"hello", b"BM is how this text begins", b"<svg/>", b"%PDF-1.7", bytes(999)])
def test_what_is_not_an_image_is_unsupported(body: bytes) -> None:
    assert outcome(body) is UnsupportedImage


@pytest.mark.parametrize("image_format", ["ICO", "PPM", "TGA", "PCX", "JPEG2000", "AVIF", "DDS", "SGI", "PDF", "EPS"])
def test_formats_that_pillow_reads_but_that_are_not_allowed_are_unsupported(image_format: str) -> None:
    assert outcome(encode(Image.fromarray(scene(32, 32)), image_format)) is UnsupportedImage


def test_truncated_images_are_not_loaded() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_truncated_image_is_corrupt(sample: Sample) -> None:
    """At every twentieth of its length. Where only what follows the picture was cut off, it still comes out right."""
    whole = DECODER.decode(sample.body)
    for twentieth in range(1, 20):
        body = sample.body[: len(sample.body) * twentieth // 20]
        try:
            pixels = DECODER.decode(body)
        except CorruptImage:
            continue
        assert np.abs(pixels.astype(int) - whole).mean() < 0.5, f"{sample.name} cut to {twentieth}/20"


@pytest.mark.parametrize("sample", KINDS, ids=lambda sample: sample.name)
def test_flipped_bits_do_no_harm(sample: Sample) -> None:
    """Half of them in the first 200 bytes, where the headers are."""
    chance = random.Random(sample.name)
    for _ in range(40):
        body = bytearray(sample.body)
        for _ in range(chance.choice((1, 1, 2, 8))):
            end = min(200, len(body)) if chance.random() < 0.5 else len(body)
            body[chance.randrange(end)] ^= 1 << chance.randrange(8)
        outcome(bytes(body))


@pytest.mark.parametrize("cut", [1, 2, 100])
def test_a_jpeg_that_lost_its_end_is_corrupt(cut: int) -> None:
    assert outcome(encode(Image.fromarray(scene(100, 100)), "JPEG")[:-cut]) is CorruptImage


def test_a_jpeg_whose_data_went_wrong_is_corrupt() -> None:
    """Other decoders show the rest of such a picture in wrong colours and at wrong places."""
    body = bytearray(encode(Image.fromarray(scene(300, 300)), "JPEG"))
    middle = len(body) // 2
    body[middle : middle + 40] = bytes(40)
    assert outcome(bytes(body)) is CorruptImage


def test_a_jpeg_with_an_odd_header_is_decoded() -> None:
    """libjpeg warns of an unknown revision of JFIF, which harms nothing."""
    plain = encode(Image.fromarray(scene(100, 100)), "JPEG")
    odd = plain.replace(b"JFIF\0\1\1", b"JFIF\0\7\7")
    assert odd != plain
    np.testing.assert_array_equal(DECODER.decode(odd), DECODER.decode(plain))


SIGNATURES = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0*", b"RIFF\x40\0\0\0WEBPVP8L", b"BM"]


@given(signature=st.sampled_from([b"", *SIGNATURES]), rest=st.binary(max_size=300))
@example(signature=b"BM", rest=bytes(12) + b"\x28" + bytes(200))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_answered(signature: bytes, rest: bytes) -> None:
    outcome(signature + rest)


@given(
    sample=st.sampled_from(KINDS),
    start=st.floats(0, 1),
    length=st.integers(0, 64),
    inserted=st.binary(max_size=64),
)
@settings(max_examples=300, deadline=None)
def test_any_part_of_an_image_may_be_replaced(sample: Sample, start: float, length: int, inserted: bytes) -> None:
    position = int(start * len(sample.body))
    outcome(sample.body[:position] + inserted + sample.body[position + length :])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_more_pixels_than_the_limit_are_too_large(image_format: str) -> None:
    decoder = Decoder(preprocessing(), Limits(max_pixels=100 * 100 * 4))  # of WebP, a quarter
    image = Image.fromarray(scene(200, 200))
    if image_format == "WEBP":
        image = image.crop((0, 0, 100, 100))
    decoder.decode(encode(image, image_format))
    wider = Image.fromarray(scene(image.width + 1, image.height))
    with pytest.raises(TooLarge):
        decoder.decode(encode(wider, image_format))


MUST_BE_TOO_LARGE = {
    *("png-10000", "png-largest", "webp-lossless", "webp-lossy", "webp-canvas", "tiff-10000", "tiff-tile"),
    *("gif-screen", "gif-frame", "bmp", "jpeg-largest", "jpeg-scans", "jpeg-scans-and-odd-sampling"),
    "jpeg-hidden-frame",
}


def test_a_bomb_costs_less_than_32_mebibytes_and_50_milliseconds(tmp_path: Path) -> None:
    for cost in costs("tests.service.bombs", bombs(), tmp_path, allowed_ms=50):
        assert cost.outcome in ("accepted", "TooLarge", "CorruptImage"), cost
        assert cost.milliseconds < 50, cost
        assert cost.mebibytes < 32, cost
        assert cost.outcome == "TooLarge" or cost.name not in MUST_BE_TOO_LARGE, cost


@pytest.mark.parametrize("tall", [False, True])
def test_a_very_long_line_keeps_its_middle(tall: bool) -> None:
    """Black, then white. Resized by torchvision's rule it has so many pixels that 32 bits do not number the middle."""
    length = 18 << 20
    size, half = ((1, length), 2) if tall else ((length, 1), 16)
    black, white = (bytes(2), b"\0\x80") if tall else (bytes(1), b"\xff")  # a row with its filter byte, or 8 pixels
    compressor = zlib.compressobj(1)
    rows = [
        b"" if tall else b"\0",
        *[black * 4096] * (length // half // 4096),
        *[white * 4096] * (length // half // 4096),
    ]
    data = b"".join([*map(compressor.compress, rows), compressor.flush()])
    header = struct.pack(">IIBBBBB", *size, 1, 0, 0, 0, 0)
    pixels = DECODER.decode(PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    line = pixels[:, 0, 0] if tall else pixels[0, :, 0]
    assert line[0] < 20
    assert line[-1] > 235
    assert (np.diff(line.astype(int)) >= 0).all()


SHORT_OF_MEMORY = """
import resource, sys
from service.errors import ServiceError
from service.image import Decoder
from tests.service.images import preprocessing
decoder = Decoder(preprocessing())
bodies = [open(path, "rb").read() for path in sys.argv[1:]]
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (32 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for body in bodies:
    try:
        decoder.decode(body)
    except ServiceError as error:
        print(error.status)
"""


def test_running_out_of_memory_is_too_large(tmp_path: Path) -> None:
    image = Image.new("RGB", (3900, 3000))
    paths = []
    options = {"WEBP": {"method": 0}, "TIFF": {"compression": "tiff_lzw"}, "PNG": {"compress_level": 1}}
    for image_format in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        paths.append(tmp_path / image_format)
        image.save(paths[-1], image_format, **options.get(image_format, {}))
    command = [sys.executable, "-c", SHORT_OF_MEMORY, *map(str, paths)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) <= {"413", "422"}
    assert result.stdout.split().count("413") >= 4


def test_a_broken_tiff_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    out = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(out, "TIFF", compression="tiff_lzw")
    whole = bytearray(out.getvalue())
    for at in range(8, len(whole) - 200, 3):  # all of the strips' data
        whole[at] ^= 0x5A
    with pytest.raises(ServiceError):
        DECODER.decode(bytes(whole))
    assert capfd.readouterr().err == ""
