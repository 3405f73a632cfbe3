"""Int8 of real trained networks: calibrated on every second photo, measured on the others."""

from __future__ import annotations

import csv
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from export.__main__ import main
from export.calibration import PERCENTILES, _method
from service.contract import INPUT_NAME, OUTPUT_NAME
from service.repository import find
from tests.export.conftest import contract_of, probabilities
from tests.export.test_trained import CHECKPOINTS, photos
from tests.kept import kept

pytestmark = pytest.mark.slow  # minutes, the first time after the exporter changed: see tests/kept.py


@dataclass(frozen=True)
class Measured:
    """A network in float32 and in int8, and both's answers to the photos that int8 was not calibrated on."""

    plain: Path
    int8: Path
    want: NDArray[np.float32]
    got: NDArray[np.float32]
    classes: NDArray[np.int64]


@pytest.fixture(scope="module", params=CHECKPOINTS)
def measured(request: pytest.FixtureRequest, shared: Path, trained: Path) -> Measured:
    checkpoint = shared / "weights" / CHECKPOINTS[request.param]
    with (shared / "images" / "labels.csv").open() as file:
        calibrating = [shared / "images" / row["file"] for row in list(csv.DictReader(file))[::2]]

    def make(folder: Path) -> None:
        (folder / "images").mkdir()
        for photo in calibrating:
            shutil.copy(photo, folder / "images")
        command = [request.param, "--weights", str(checkpoint), "--quiet", "--precision", "int8"]
        assert main([*command, "--calibration", str(folder / "images"), "--output", str(folder)]) == 0
        shutil.rmtree(folder / "images")

    folder = kept(f"int8-{request.param}", [checkpoint, *calibrating], make)
    plain, int8 = (find(repository, request.param).path for repository in (trained, folder))
    images, classes = photos(shared, every=1)
    want, got = (
        np.concatenate([probabilities(path, part) for part in np.array_split(images[1::2], 5)])
        for path in (plain, int8)
    )
    return Measured(plain, int8, want, got, np.array(classes[1::2]))


def test_int8_has_float32s_first_class_on_at_least_96_percent_of_other_photos(measured: Measured) -> None:
    assert np.mean(measured.got.argmax(axis=1) == measured.want.argmax(axis=1)) >= 0.96


def test_int8_gets_at_most_two_photos_fewer_right(measured: Measured) -> None:
    right = [int(np.sum(rows.argmax(axis=1) == measured.classes)) for rows in (measured.want, measured.got)]
    assert right[1] >= right[0] - 2


def test_the_int8_file_is_at_most_27_percent_of_float32s(measured: Measured) -> None:
    assert measured.int8.stat().st_size <= 0.27 * measured.plain.stat().st_size
    # Nothing beside it: the weights are inside.
    assert [
        tensor.name
        for tensor in onnx.load(measured.int8, load_external_data=False).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ] == []


@pytest.mark.parametrize("batch_size", [1, 4])
def test_int8_is_at_least_2_3_times_as_fast_on_one_core(measured: Measured, batch_size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (batch_size, 224, 224, 3), np.uint8)
    sessions = [single_threaded(measured.plain), single_threaded(measured.int8)]
    seconds: list[list[float]] = [[], []]
    for _ in range(7):  # in turns, and in the thread's own time: whatever else runs here slows both alike
        for session, taken in zip(sessions, seconds, strict=True):
            started = time.thread_time()
            session.run([OUTPUT_NAME], {INPUT_NAME: images})
            taken.append(time.thread_time() - started)
    assert statistics.median(seconds[0]) / statistics.median(seconds[1]) >= 2.3


def test_the_certificate_says_how_well_the_two_agree(measured: Measured) -> None:
    certificate = contract_of(measured.int8).certificate
    assert certificate is not None
    assert certificate.max_difference("fp32") < 1e-5  # of the float32 graph it was made from
    assert certificate.quantization is not None
    assert (certificate.quantization.images, certificate.quantization.held_out) == (125, 63)
    assert certificate.quantization.top1_agreement >= 0.95
    assert certificate.quantization.method in {_method(percentile) for percentile in PERCENTILES}
    assert certificate.quantization.divergence < 0.005  # nats, from float32's probabilities


def single_threaded(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
