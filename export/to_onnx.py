"""A network becomes an ONNX graph with its preprocessing and softmax inside.

    image uint8 (N, H, W, 3) ─ preprocess ─ network ─ softmax ─ probabilities float32 (N, classes)

BN is folded into the convolutions before it (the exporter's own rewrite), so the graph is what inference
engines fuse best: Conv, Relu, Add, pools and Gemm.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnx_ir
import torch
from onnxscript import opset18
from torch import Tensor, nn

from export.errors import BadInput
from export.naming import name_after_layers
from service.contract import INPUT_NAME, OUTPUT_NAME, Preprocessing

# The opset that torch's exporter is written in, so nothing is converted on the way. Everything in these
# networks has been there since, per-channel quantisation included (13), and ONNX Runtime reads it since 1.14.
OPSET = 18
USUAL_CROP = 224  # every network here can be exported at this size


class Preprocess(nn.Module):
    """Pixels to the network's input: scaled to [0, 1], less the mean, by the standard deviation, channels first.

    (x/255 − mean)/std is computed as (x − 255·mean) · 1/(255·std): two passes over the pixels, not three. The
    transpose comes first, while a pixel is one byte. Folding the factor into the first convolution as well would
    be exact (the offset could not be folded: the zero padding around it comes after), but saves only 0.06% of
    ResNet-18's time, and shrinks that layer's weights 57-fold, which float16 would pay for.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        mean = 255 * torch.tensor(preprocessing.mean, dtype=torch.float64)
        scale = 1 / (255 * torch.tensor(preprocessing.std, dtype=torch.float64))
        self.register_buffer("mean", mean.float().view(1, 3, 1, 1))
        self.register_buffer("scale", scale.float().view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 (N, H, W, 3) to float32 (N, 3, H, W)."""
        return (image.permute(0, 3, 1, 2).float() - self.mean) * self.scale


class Classifier(nn.Module):
    """What an artefact computes: pixels in, probabilities out."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocess = Preprocess(preprocessing)
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Map uint8 (N, H, W, 3) to float32 (N, classes)."""
        return torch.softmax(self.network(self.preprocess(image)), dim=1)


def to_onnx(network: nn.Module, preprocessing: Preprocessing) -> onnx.ModelProto:
    """Return the graph of a network, weights inside, batch axis dynamic.

    Args:
        network: Maps normalised (N, 3, crop, crop) to logits (N, classes); in eval mode.
        preprocessing: What goes in front of it; `crop` is the side of the input.

    Returns:
        A checked model: input `image` uint8 (N, crop, crop, 3), output `probabilities` float32 (N, classes).
        Nodes and initializers bear the network's layer names.

    Raises:
        BadInput: the network has a layer that cannot be exported at this crop.
    """
    classifier = Classifier(network, preprocessing).eval()
    crop = preprocessing.crop
    # Two images: torch.export would take a batch of one for a constant.
    example = torch.zeros(2, crop, crop, 3, dtype=torch.uint8)
    try:
        with _quiet():
            program = _translate(classifier, example)
    except torch.onnx.errors.OnnxExporterError as error:
        if crop == USUAL_CROP:
            raise
        raise BadInput(f"this network cannot be exported with --crop {crop}: {_root(error)}") from error
    name_after_layers(program.model, prefix="network.")
    model: onnx.ModelProto = onnx_ir.to_proto(program.model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _translate(classifier: Classifier, example: Tensor) -> torch.onnx.ONNXProgram:
    program = torch.onnx.export(
        classifier,
        (example,),
        dynamo=True,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("N")}},
        opset_version=OPSET,
        external_data=False,
        custom_translation_table={torch.ops.aten.adaptive_avg_pool2d.default: _adaptive_avg_pool2d},
        verbose=False,
    )
    assert program is not None  # noqa: S101 - for the type checker: None is what the older exporter returns
    return program


def _root(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _root(error.__cause__)


def _adaptive_avg_pool2d(x: Any, output_size: list[int]) -> Any:
    """Translate average pooling to a given size.

    Left alone, the exporter takes it apart into a mean and nine nodes that index it; GlobalAveragePool is one
    that ONNX Runtime keeps in its blocked layout and that its quantiser knows.
    """
    sides = [int(side) for side in x.shape[2:]]
    if list(output_size) == [1, 1]:
        return opset18.GlobalAveragePool(x)
    if sides == list(output_size):
        return opset18.Identity(x)
    if any(side % out for side, out in zip(sides, output_size, strict=True)):
        raise BadInput(f"a map of {sides} cannot be pooled to {output_size} evenly")
    kernel = [side // out for side, out in zip(sides, output_size, strict=True)]
    return opset18.AveragePool(x, kernel_shape=kernel, strides=kernel)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's talk of its own internals (torchvision's absence, deprecations) from users.

    It logs errors as well, with tracebacks, but raises them too.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logging.disable(disabled)
