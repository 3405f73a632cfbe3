"""What several steps ask of an ONNX graph: run it, look inside it, change its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from export.images import Pixels
from service.contract import INPUT_NAME, OUTPUT_NAME

FloatArray = NDArray[np.float32]


class Runner:
    """A graph in ONNX Runtime on the CPU.

    Args:
        model: Any of ours; without external data.
        names: Outputs, or values inside the graph.
    """

    def __init__(self, model: onnx.ModelProto, names: Sequence[str] = (OUTPUT_NAME,)) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Threads that spin while they wait take the processor from one another wherever anything else is running.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        data = with_outputs(model, names).SerializeToString()
        self._names = list(names)
        self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Pixels) -> dict[str, FloatArray]:
        """Return the named values for images (N, H, W, 3)."""
        return dict(zip(self._names, self._session.run(self._names, {INPUT_NAME: images}), strict=True))

    def probabilities(self, images: Pixels) -> FloatArray:
        """Return (N, classes)."""
        return self(images)[OUTPUT_NAME]


def run(
    model: onnx.ModelProto, images: Pixels, names: Sequence[str] = (OUTPUT_NAME,), *, batch_size: int = 4
) -> Iterator[dict[str, FloatArray]]:
    """Yield the named values, batch by batch, as ONNX Runtime computes them on the CPU.

    Args:
        model: Any of ours; without external data.
        images: (N, H, W, 3).
        names: Outputs, or values inside the graph.
        batch_size: Largest batch.
    """
    runner = Runner(model, names)
    for start in range(0, len(images), batch_size):
        yield runner(images[start : start + batch_size])


def probabilities(model: onnx.ModelProto, images: Pixels) -> FloatArray:
    """Return the model's answers (N, classes) to images (N, H, W, 3)."""
    return np.concatenate([values[OUTPUT_NAME] for values in run(model, images)])


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return a copy whose float values of these names are outputs too."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    known = {value.name for value in model.graph.output}
    copied.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names if name not in known
    )
    return copied


def initializers(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Return the graph's constants by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def replace(model: onnx.ModelProto, values: Mapping[str, FloatArray]) -> None:
    """Give initializers other values, in place."""
    tensors = initializers(model)
    for name, value in values.items():
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float32), name))


def layers(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes that hold nearly all weights and multiply-adds: convolutions and fully connected layers."""
    return [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]


def ints(node: onnx.NodeProto, name: str, default: Sequence[int]) -> list[int]:
    """Return an attribute that is a list of whole numbers."""
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == name), list(default))
