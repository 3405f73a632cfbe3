"""Decoding on a real card: the kernels' levels, and what trained networks make of photos decoded there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.card.decoder import CardDecoder, Slots
from service.card.resize import CardPicture, CudaKernels, Resizer
from service.engine import open_engine
from service.engine.device import CudaDevice, Resident
from service.image import Decoder
from service.repository import find
from tests.service.card.test_resize import by_cpu
from tests.service.images import Pixels, preprocessing, scene

CROP = 224
SIZE = CROP * CROP * 3


def fetched(card: CudaDevice, address: int) -> Pixels:
    pixels = np.empty((CROP, CROP, 3), np.uint8)
    stream = card.stream()
    card.copy(pixels.ctypes.data, address, SIZE, stream)
    card.wait(stream)
    return pixels


@pytest.mark.parametrize("size", [(500, 375), (224, 224), (37, 900), (3000, 2000), (1, 1)])
def test_the_kernels_have_the_levels_of_the_cpus_decoder(card: CudaDevice, size: tuple[int, int]) -> None:
    picture, stream = scene(*size), card.stream()
    source, target = card.allocate(picture.nbytes), card.allocate(SIZE)
    card.copy(source.address, picture.ctypes.data, picture.nbytes, stream)
    resizer = Resizer(card, CudaKernels(card), preprocessing(256, CROP), stream)
    kept = resizer.begin([CardPicture(*size, source.address, size[0] * 3)], [target.address])
    card.wait(stream)
    del kept
    np.testing.assert_array_equal(fetched(card, target.address), by_cpu(picture, 256, CROP))


@pytest.fixture(scope="module")
def decoder(card: CudaDevice) -> CardDecoder:
    pytest.importorskip("nvidia.nvimgcodec")
    return CardDecoder(card, CudaKernels(card), preprocessing(256, CROP), Slots(card, 64, SIZE))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_photos_decoded_on_the_card_are_classified_as_those_of_the_cpu(
    decoder: CardDecoder, shared: Path, trained: Path, name: str
) -> None:
    """Top-1 agrees on 99.5% of the photos at least: the bound that the CPU's decoder has."""
    engine = open_engine(find(trained, name).path, provider="cuda")
    cpu, same, total = Decoder(preprocessing(256, CROP)), 0, 0
    paths = sorted((shared / "images").glob("*.JPEG"))
    for start in range(0, len(paths), 25):
        files = [np.frombuffer(path.read_bytes(), np.uint8) for path in paths[start : start + 25]]
        on_card = [resident for resident in decoder.decode(files) if isinstance(resident, Resident)]
        assert len(on_card) == len(files), "the card could not decode a photo"
        theirs = engine.infer(on_card).argmax(1)  # type: ignore[arg-type]  # what lanes take besides pixels
        ours = engine.infer([cpu.decode(file.tobytes()) for file in files]).argmax(1)
        same += int((theirs == ours).sum())
        total += len(files)
    assert same / total >= 0.995
