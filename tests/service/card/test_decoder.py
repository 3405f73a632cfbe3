"""service.card.codec, decoder, sorting: the real nvImageCodec, on the CPU; pixels are those of the CPU's decoder."""

from __future__ import annotations

import gc
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.card.codec import Codec
from service.card.decoder import CardDecoder, Slots
from service.card.sorting import Sorter
from service.engine.device import HostDevice, Resident
from service.errors import CorruptImage, TooLarge
from service.image import Decoder, Limits
from tests.service.card.host import HostKernels, with_bad_tables
from tests.service.engine.runtime import LateRuntime, late_device
from tests.service.images import Pixels, encode, exif, preprocessing, scene

pytestmark = pytest.mark.usefixtures("nvimgcodec")
CROP = 224


def card_decoder(slots: int = 64) -> CardDecoder:
    device = HostDevice()
    return CardDecoder(device, HostKernels(), preprocessing(), Slots(device, slots, CROP * CROP * 3))


def pixels_of(resident: Resident | None) -> Pixels:
    assert resident is not None
    pixels = np.empty((CROP, CROP, 3), np.uint8)
    HostDevice().copy(pixels.ctypes.data, resident.address, pixels.nbytes, 0)
    return pixels


def file_of(body: bytes) -> Pixels:
    return np.frombuffer(body, np.uint8)


def jpeg(width: int = 300, height: int = 260, mode: str = "RGB", **options: object) -> bytes:
    return encode(Image.fromarray(scene(width, height)).convert(mode), "JPEG", **options)


@pytest.fixture
def sorter() -> Sorter:
    return Sorter(Decoder(preprocessing(), Limits(max_pixels=1_000_000)))


def test_photos_have_the_pixels_of_the_cpus_decoder(shared: Path) -> None:
    decoder, cpu = card_decoder(), Decoder(preprocessing())
    bodies = [path.read_bytes() for path in sorted((shared / "images").glob("*.JPEG"))[::5]]
    for start in range(0, len(bodies), 25):
        batch = bodies[start : start + 25]
        for resident, body in zip(decoder.decode([file_of(body) for body in batch]), batch, strict=True):
            np.testing.assert_array_equal(pixels_of(resident), cpu.decode(body))


@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "L"}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"restart_marker_blocks": 4}],
    ids=str,
)
def test_every_ordinary_kind_of_jpeg_is_the_cards_and_comes_out_the_same(
    sorter: Sorter, options: dict[str, object]
) -> None:
    body = jpeg(**options)  # type: ignore[arg-type]
    file = sorter.sort(body, None)
    assert file.tobytes() == body
    decoder = card_decoder()  # whose memory the pixels are in
    (resident,) = decoder.decode([file])
    np.testing.assert_array_equal(pixels_of(resident), Decoder(preprocessing()).decode(body))


def test_what_the_codec_cannot_decode_harms_nobody_else_in_the_batch() -> None:
    good, broken, junk = jpeg(), with_bad_tables(jpeg()), b"no image"
    decoder = card_decoder()
    found = decoder.decode([file_of(body) for body in (junk, good, broken, good)])
    assert [resident is not None for resident in found] == [False, True, False, True]
    np.testing.assert_array_equal(pixels_of(found[1]), pixels_of(found[3]))


def test_without_room_the_cpu_has_to() -> None:
    decoder = card_decoder(slots=2)
    first = decoder.decode([file_of(jpeg())] * 3)
    assert [resident is not None for resident in first] == [True, True, False]
    del first
    assert all(decoder.decode([file_of(jpeg())] * 2)), "slots were not given back"


def test_a_slot_is_nobody_elses_while_somebody_refers_to_it() -> None:
    decoder = card_decoder(slots=2)
    (kept,) = decoder.decode([file_of(jpeg(300, 260))])
    before = pixels_of(kept)
    for side in (230, 240, 250):
        decoder.decode([file_of(jpeg(side, 400))])
    np.testing.assert_array_equal(pixels_of(kept), before)


def test_pixels_keep_the_memory_that_they_are_in(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = LateRuntime()
    slots = Slots(late_device(monkeypatch, runtime), 2, 100)
    resident = slots.take()
    del slots
    gc.collect()
    assert runtime.held, "given back while somebody still had pixels there"
    del resident
    gc.collect()
    assert not runtime.held


def test_pixels_are_right_though_nothing_is_done_before_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = LateRuntime()

    class LateKernels(HostKernels):
        def launch(self, name: str, blocks: tuple[int, int], threads: int, jobs: int, stream: int) -> None:
            runtime.put(stream, lambda: HostKernels.launch(self, name, blocks, threads, jobs, stream))

    device = late_device(monkeypatch, runtime)
    decoder = CardDecoder(device, LateKernels(), preprocessing(), Slots(device, 4, CROP * CROP * 3))
    bodies = [jpeg(), jpeg(260, 700), jpeg(640, 480)]
    for resident, body in zip(decoder.decode([file_of(body) for body in bodies]), bodies, strict=True):
        np.testing.assert_array_equal(pixels_of(resident), Decoder(preprocessing()).decode(body))


def oriented() -> bytes:
    return jpeg(exif=exif(6))


def rgb() -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene(100, 100)).save(file, "JPEG", keep_rgb=True)
    return file.getvalue()


@pytest.mark.parametrize(
    "body",
    [oriented(), rgb(), jpeg(mode="CMYK"), encode(Image.fromarray(scene(90, 80)), "PNG"), jpeg() + b"trailing"],
    ids=["turned by Exif", "RGB", "CMYK", "PNG", "bytes after its end"],
)
def test_what_is_not_ordinary_is_the_cpus(sorter: Sorter, body: bytes) -> None:
    np.testing.assert_array_equal(sorter.sort(body, None), Decoder(preprocessing()).decode(body))


def test_a_picture_of_a_camera_is_the_cpus_which_decodes_it_at_a_reduced_scale() -> None:
    sorter = Sorter(Decoder(preprocessing()))
    body = encode(Image.new("RGB", (4000, 3000), (9, 99, 200)), "JPEG")
    assert sorter.sort(body, None).shape == (CROP, CROP, 3)


def test_what_cannot_be_is_told_by_the_cpus_decoder(sorter: Sorter) -> None:
    with pytest.raises(CorruptImage):
        sorter.sort(jpeg()[:-700], None)
    with pytest.raises(TooLarge):
        sorter.sort(jpeg(1200, 1000), None)


def test_files_and_pixels_go_where_they_should(sorter: Sorter) -> None:
    room = np.zeros(CROP * CROP * 3 + 1000, np.uint8)
    body = jpeg()
    file = sorter.sort(body, room)
    assert (file.ndim, file.ctypes.data) == (1, room.ctypes.data)
    assert room[: len(body)].tobytes() == body
    pixels = sorter.sort(oriented(), room)
    assert (pixels.shape, pixels.ctypes.data) == ((CROP, CROP, 3), room.ctypes.data)
    too_long = jpeg(900, 900, quality=100, subsampling=0)
    assert len(too_long) > len(room)
    assert sorter.sort(too_long, room).ndim == 3


def test_the_codec_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "nvidia", None)
    with pytest.raises(Exception, match=r"nvImageCodec, which is not here .*resnet-serve\[gpu\]"):
        Codec(HostDevice(), 0)
