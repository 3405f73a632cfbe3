"""Weights to whole numbers so that layers' outputs change least, not the weights themselves.

Rounding W to Ŵ changes a layer's output by (W − Ŵ)x, in the mean square by tr((W − Ŵ) H (W − Ŵ)ᵀ) with
H = E[x xᵀ]. Inputs are correlated (they are all positive after a ReLU, to begin with), so what one column loses
the ones after it can make up for: columns are rounded one at a time, and the best correction of those that are
still to come follows from H (Frantar et al. 2022, *GPTQ*, Sec. 3; Hassibi & Stork 1993, *Optimal Brain Surgeon*).
Done here in blocks of columns, each with its own part of H; what remains of the mean goes into the bias
(Nagel et al. 2019, *Data-Free Quantization*, Sec. 4.2). Scales are by channel, and are handed to ONNX Runtime's
quantiser together with weights that lie on them.

On CPUs without VNNI the kernels add two products of an unsigned activation and a signed weight in 16 bits, saturating
(x86's VPMADDUBSW). So two weights that meet there may be 128 together, 255 · 128 = 32640 being below 2¹⁵; with more
the sum could overflow, and answers would depend on the machine. ONNX Runtime's `reduce_range` sees to that by seven
bits for all, −64 … 64. But which two meet is known: the kernels go through a filter position by position, there
channel by channel, and take neighbours. A scale by which the largest of a channel's weights is at most 127, and the
largest sum of neighbours at most 128, has steps of 0.62 times those of seven bits on average in ResNet-18, and of more
in no channel. On an AVX2 machine without VNNI (QEMU's Haswell) the answers are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from export.graph import FloatArray, initializers, ints, layers, replace, run
from export.images import Pixels

LARGEST, LARGEST_SUM = 127, 128  # of the magnitude of a rounded weight, and of two that meet in 16 bits
_BLOCK = 128  # columns rounded together; twice as many gain little and take twice as long
_POSITIONS = 64  # of a map, that one image's statistics are taken from
_DAMPING = 0.01  # of the mean of H's diagonal, added to it (GPTQ, Sec. 3.3)
# The least scale of a channel, by the layer's largest: a channel of zeros has a bias to be put into whole
# numbers too, and those of a scale near nothing would overflow.
_LEAST_SCALE = 1e-4

# By tensor: a dictionary per channel, as the quantiser's option TensorQuantOverrides has it.
Overrides = dict[str, list[dict[str, Any]]]


@dataclass
class _Inputs:
    """What a layer's weights are multiplied with, in blocks of columns, in the order of `kernel_order`.

    Attributes:
        moments: Σ x xᵀ, (blocks, _BLOCK, _BLOCK).
        total: Σ x, (blocks, _BLOCK).
        count: Number of x.
    """

    moments: FloatArray
    total: FloatArray
    count: int = 0

    @classmethod
    def of(cls, columns: int) -> _Inputs:
        blocks = -(-columns // _BLOCK)
        return cls(np.zeros((blocks, _BLOCK, _BLOCK), np.float32), np.zeros((blocks, _BLOCK), np.float32))

    def add(self, rows: FloatArray) -> None:
        """Take in x of shape (n, columns)."""
        padded = np.pad(rows, ((0, 0), (0, self.total.size - rows.shape[1])))
        blocks = padded.reshape(len(rows), -1, _BLOCK).transpose(1, 0, 2)  # (blocks, n, _BLOCK)
        self.moments += blocks.transpose(0, 2, 1) @ blocks
        self.total += blocks.sum(axis=1)
        self.count += len(rows)


def round_weights(
    model: onnx.ModelProto, images: Pixels, *, seed: int = 0, progress: bool = False
) -> tuple[onnx.ModelProto, Overrides]:
    """Return a copy whose weights are whole multiples of their channel's scale, and those scales.

    Args:
        model: Float32.
        images: To take the layers' inputs from, (N, H, W, 3).
        seed: Of the positions looked at.
        progress: Whether to draw a progress bar on standard error.
    """
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    values = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in initializers(model).items()}
    inputs = _observe(model, images, np.random.default_rng(seed), progress)
    overrides: Overrides = {}
    for node in tqdm(layers(model), desc="rounding", unit="layer", disable=not progress, leave=False):
        if node.name not in inputs:
            continue
        _, weight, bias = node.input
        order = kernel_order(values[weight].shape)
        matrix: FloatArray = values[weight].reshape(len(values[weight]), -1)[:, order]  # (out, columns)
        scale = _scales(matrix)  # (out, 1)
        seen = inputs[node.name]
        lattice = scale * _round(np.divide(matrix, scale, dtype=np.float32), seen.moments / np.float32(seen.count))
        lost = (matrix - lattice) @ seen.total.reshape(-1)[: matrix.shape[1]] / np.float32(seen.count)
        in_place = lattice[:, np.argsort(order)].reshape(values[weight].shape)
        replace(rounded, {weight: in_place, bias: values[bias] + lost})
        overrides[weight] = [{"scale": s, "zero_point": np.int8(0), "quant_type": QuantType.QInt8} for s in scale[:, 0]]
        overrides[weight][0]["axis"] = 0
    return rounded, overrides


def kernel_order(shape: Sequence[int]) -> NDArray[np.int64]:
    """Return the columns of weights (out, channels, …), flattened, so that the two of each pair meet in 16 bits.

    Pairs go by the column of their first: so what is correlated most, a channel's positions, stays near.
    """
    channels, positions = shape[1], math.prod(shape[2:])
    by_position = np.arange(channels * positions).reshape(channels, positions).T.ravel()
    even = by_position[: len(by_position) // 2 * 2].reshape(-1, 2)
    return np.concatenate([even[np.argsort(even[:, 0])].ravel(), by_position[even.size :]])


def _scales(matrix: FloatArray) -> FloatArray:
    even = matrix[:, : matrix.shape[1] // 2 * 2]
    sums = np.abs(even[:, ::2] + even[:, 1::2]).max(axis=1, keepdims=True, initial=0)
    needed = np.maximum(np.abs(matrix).max(axis=1, keepdims=True) / LARGEST, sums / LARGEST_SUM)
    scales: FloatArray = np.maximum(needed, max(_LEAST_SCALE * float(needed.max()), 1e-12)).astype(np.float32)
    return scales


def _round(matrix: FloatArray, moments: FloatArray) -> FloatArray:
    """Return whole numbers (out, columns) near a matrix, in the sense of its inputs' second moments."""
    blocks, width = moments.shape[:2]
    diagonal = moments.diagonal(axis1=1, axis2=2).mean(axis=1)[:, None, None]
    damped = moments + (_DAMPING * diagonal + 1e-8) * np.eye(width, dtype=np.float32)
    # Row j of the upper factor of H⁻¹ says how the columns after j best make up for what column j lost.
    factor = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)  # (blocks, width, width)
    padded = np.pad(matrix, ((0, 0), (0, blocks * width - matrix.shape[1])))
    rest = np.ascontiguousarray(padded.reshape(-1, blocks, width).transpose(1, 2, 0))  # (blocks, width, out)
    whole = np.zeros_like(rest)
    for j in range(width):
        before = whole[:, j - 1] if j % 2 else np.zeros_like(whole[:, j])  # the one that it meets
        lowest, highest = np.maximum(-LARGEST, -LARGEST_SUM - before), np.minimum(LARGEST, LARGEST_SUM - before)
        whole[:, j] = rest[:, j].round().clip(lowest, highest)
        lost = (rest[:, j] - whole[:, j]) / factor[:, j, j, None]  # (blocks, out)
        rest[:, j + 1 :] -= factor[:, j, j + 1 :, None] * lost[:, None]
    rounded: FloatArray = whole.transpose(2, 0, 1).reshape(len(matrix), -1)[:, : matrix.shape[1]]
    return rounded


def _observe(model: onnx.ModelProto, images: Pixels, rng: np.random.Generator, progress: bool) -> dict[str, _Inputs]:
    shapes = {name: list(tensor.dims) for name, tensor in initializers(model).items()}
    nodes = [node for node in layers(model) if _is_plain(node, shapes)]
    inputs = {node.name: _Inputs.of(int(np.prod(shapes[node.input[1]][1:]))) for node in nodes}
    names = list(dict.fromkeys(node.input[0] for node in nodes))
    with tqdm(total=len(images), desc="observing", unit="image", disable=not progress, leave=False) as bar:
        for values in run(model, images, names):
            for node in nodes:
                rows = _rows(values[node.input[0]], node, shapes[node.input[1]], rng)
                inputs[node.name].add(rows[:, kernel_order(shapes[node.input[1]])])
            bar.update(len(values[names[0]]))
    return inputs


def _is_plain(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> bool:
    """Say whether a row of the weights, flattened, is what one output is a product with; with a bias to correct."""
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    by_row = flags.get("transB", 0) == 1 if node.op_type == "Gemm" else flags.get("group", 1) == 1
    return by_row and len(node.input) == 3 and all(name in shapes for name in node.input[1:])


def _rows(x: NDArray[Any], node: onnx.NodeProto, shape: list[int], rng: np.random.Generator) -> FloatArray:
    """Return what the weights are multiplied with, (n, columns): patches at random positions, or x as it is."""
    if x.ndim == 2:
        return x
    top, left, bottom, right = ints(node, "pads", (0, 0, 0, 0))
    down, across = ints(node, "strides", (1, 1))
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, shape[2:], axis=(2, 3))[:, :, ::down, ::across]
    height, width = windows.shape[2:4]  # of (N, C, height, width, kernel, kernel)
    picked = []
    for image in windows:
        positions = rng.choice(height * width, min(_POSITIONS, height * width), replace=False)
        patches = image[:, positions // width, positions % width]  # (C, n, kernel, kernel)
        picked.append(patches.transpose(1, 0, 2, 3).reshape(len(positions), -1))
    return np.concatenate(picked)
