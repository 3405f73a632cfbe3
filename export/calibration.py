"""What calibration looks at: a user's images, and the ranges that activations take on them.

Ranges are measured by ONNX Runtime's own calibrator: one histogram for each value, read at several percentiles, of
which the hundredth is the plain minimum and maximum.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization.calibrate import PercentileCalibrater
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from export.errors import BadInput
from export.graph import layers, run
from export.images import Pixels
from export.scratch import scratch
from models.photos import find_photos
from service.contract import INPUT_NAME, Preprocessing
from service.errors import ServiceError
from service.image import Decoder

MINIMUM, ENOUGH, MOST = 16, 100, 256  # images: fewer are refused, warned of; more are not looked at
# Of a value's distribution, what its range keeps; 100 is the plain minimum and maximum.
PERCENTILES = (100.0, 99.9999, 99.999, 99.99)
_BINS = 2048

Range = tuple[float, float]
Ranges = dict[str, Range]  # by value


def read_images(
    folder: Path, preprocessing: Preprocessing, *, seed: int, warn: Callable[[str], None], progress: bool = False
) -> Pixels:
    """Return a folder's images (N, crop, crop, 3), prepared as the service prepares them, in a seeded order.

    Args:
        folder: Searched with everything below it.
        preprocessing: How to resize and crop.
        seed: Of the order, and of the choice where there are more than `MOST`.
        warn: Told of files that are no images, and of few images.
        progress: Whether to draw a progress bar on standard error.

    Raises:
        BadInput: there are fewer than `MINIMUM`.
    """
    paths = find_images(folder)
    chosen = [paths[i] for i in np.random.default_rng(seed).permutation(len(paths))]
    decoder, images = Decoder(preprocessing), []
    for path in tqdm(chosen[:MOST], desc="reading", unit="image", disable=not progress, leave=False):
        try:
            images.append(decoder.decode(path.read_bytes()))
        except (ServiceError, OSError) as error:
            warn(f"{path} is left out: {error}")
    _insist_on_enough(folder, len(images))
    if len(images) < ENOUGH:
        warn(f"only {len(images)} images to calibrate with: {ENOUGH} and more are better")
    return np.stack(images)


def find_images(folder: Path) -> list[Path]:
    """Return the files of a folder that look like images, sorted.

    Raises:
        BadInput: there are fewer than `MINIMUM`.
    """
    try:
        paths = find_photos(folder)
    except OSError as error:
        raise BadInput(f"--calibration {folder}: no images there") from error
    _insist_on_enough(folder, len(paths))
    return paths


def _insist_on_enough(folder: Path, images: int) -> None:
    if images < MINIMUM:
        raise BadInput(f"--calibration {folder}: {images} images are too few, {MINIMUM} the least")


def measure_ranges(
    model: onnx.ModelProto, operators: list[str], images: Pixels, *, progress: bool = False
) -> dict[str, Ranges]:
    """Return the ranges of the values around some operators, by method: "min-max", "percentile 99.99" and so on.

    Args:
        model: Float32, with its values' types inferred.
        operators: The kinds of node whose inputs and outputs are measured.
        images: To run it on, (N, H, W, 3).
        progress: Whether to draw a progress bar on standard error.
    """
    with scratch() as folder, contextlib.redirect_stdout(io.StringIO()):  # it prints
        plain = folder / "model.onnx"
        onnx.save(model, plain)
        calibrater = _Percentiles(plain, operators, augmented_model_path=str(folder / "augmented.onnx"), num_bins=_BINS)
        calibrater.augment_graph()
        calibrater.create_inference_session()
        for image in tqdm(images, desc="calibrating", unit="image", disable=not progress, leave=False):
            calibrater.collect_data(_OneImage(image))  # one at a time: it holds every value of all it is given
        measured = {_method(percentile): _read(calibrater, percentile) for percentile in PERCENTILES}
    first = layers(model)[0].input[0]
    full = _full_range(model, first)
    for ranges in measured.values():
        ranges[first] = full
        for node in model.graph.node:
            if node.op_type == "Relu" and node.input[0] not in ranges:
                ranges[node.input[0]] = ranges[node.output[0]]
    return measured


def _method(percentile: float) -> str:
    return "min-max" if percentile == 100 else f"percentile {percentile:g}"


def _read(calibrater: Any, percentile: float) -> Ranges:
    calibrater.collector.percentile = percentile
    return {name: (float(data.lowest), float(data.highest)) for name, data in calibrater.compute_data().items()}


def _full_range(model: onnx.ModelProto, name: str) -> Range:
    """Return the range of the preprocessed pixels: known beforehand, so that white and black are never cut off."""
    height, width = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:3])
    black_and_white = np.stack([np.full((height, width, 3), level, np.uint8) for level in (0, 255)])
    values = next(run(model, black_and_white, [name]))[name]
    return float(values.min()), float(values.max())


class _Percentiles(PercentileCalibrater):  # type: ignore[misc, unused-ignore]  # ONNX Runtime's is untyped
    def select_tensors_to_calibrate(self, model: onnx.ModelProto) -> tuple[set[str], dict[str, onnx.ValueInfoProto]]:
        """Leave out what only a ReLU reads: the quantiser lets the ReLU's range stand for both."""
        names, infos = super().select_tensors_to_calibrate(model)
        readers: dict[str, list[str]] = {}
        for node in model.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node.op_type)
        return {name for name in names if readers.get(name) != ["Relu"]}, infos


class _OneImage(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
    def __init__(self, image: Pixels) -> None:
        self._inputs: Iterator[dict[str, Pixels]] = iter([{INPUT_NAME: image[np.newaxis]}])

    def get_next(self) -> dict[str, Pixels] | None:
        return next(self._inputs, None)
