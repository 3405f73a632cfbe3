"""A quick static quantisation of an artefact, for measuring speed; accuracy is the exporter's business.

Per channel, unsigned activations and signed weights: with signed activations ONNX Runtime 1.32 leaves half of the
convolutions in float32 on x86 (measured: 26 ms an image instead of 11, ResNet-18).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from service.contract import INPUT_NAME, Contract


def quantize(source: Path, target: Path, images: Sequence[NDArray[np.uint8]], name: str) -> None:
    """Write an int8 artefact.

    Args:
        source: The float32 artefact.
        target: Where to; its folder is made.
        images: To calibrate with, each (H, W, 3).
        name: The artefact's name in its contract.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _Calibration(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=_preprocessing_nodes(onnx.load(prepared)),
        )
    model = onnx.load(target)
    contract = Contract.from_metadata({entry.key: entry.value for entry in onnx.load(source).metadata_props})
    promise = contract.model_copy(update={"name": name, "precision": "int8", "certificate": None})
    onnx.helper.set_model_props(model, promise.to_metadata())
    onnx.save(model, target)


def _preprocessing_nodes(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes before the first convolution: in float32 they are cheaper, and exact."""
    operators = [node.op_type for node in model.graph.node]
    return [node.name for node in model.graph.node[: operators.index("Conv")]]


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime's quantiser is untyped
    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT_NAME: image[np.newaxis]}
