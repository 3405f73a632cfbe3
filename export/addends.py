"""The ranges of what a residual block adds: what the ReLU after the addition makes zero anyway needs no steps.

An addend reaches as far below zero as above, but where the sum is negative it does not matter how much so. Cut off from
below, an addend has finer steps for what remains, which halves the mean square of what the sum loses after its ReLU.
In these networks it is the addends, the widest of all ranges, that eight bits harm most.
"""

from __future__ import annotations

import numpy as np
import onnx
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from export.calibration import Range, Ranges
from export.graph import FloatArray, run
from export.images import Pixels

_POSITIONS = 256  # of a map, looked at in each image
_PARTS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # of what a range has below zero, that may be kept

# By addend: its values and those of what it is added to, both flat.
_Seen = dict[str, tuple[FloatArray, FloatArray]]


def cut_addends(
    model: onnx.ModelProto, measured: dict[str, Ranges], images: Pixels, *, seed: int = 0, progress: bool = False
) -> dict[str, Ranges]:
    """Return ranges, by method, in which those of addends begin where the least is lost after the ReLU.

    Args:
        model: Float32.
        measured: Ranges by method; left as they are.
        images: To run it on, (N, H, W, 3).
        seed: Of the positions looked at.
        progress: Whether to draw a progress bar on standard error.
    """
    seen = _observe(model, images, np.random.default_rng(seed), progress)
    return {
        method: ranges | {name: _cut(ranges[name], *values) for name, values in seen.items() if name in ranges}
        for method, ranges in measured.items()
    }


def addends(model: onnx.ModelProto) -> dict[str, str]:
    """Return what convolutions put out to be added to something and cut at zero: each with what it is added to."""
    makers = {node.output[0]: node for node in model.graph.node}
    before_relus = [makers[node.input[0]] for node in model.graph.node if node.op_type == "Relu"]
    sums = [node.input for node in before_relus if node.op_type == "Add"]
    pairs = [pair for one, other in sums for pair in ((one, other), (other, one))]
    return {own: other for own, other in pairs if own in makers and makers[own].op_type == "Conv"}


def _observe(model: onnx.ModelProto, images: Pixels, rng: np.random.Generator, progress: bool) -> _Seen:
    pairs = addends(model)
    if not pairs:
        return {}
    parts: dict[str, list[list[FloatArray]]] = {name: [[], []] for name in pairs}
    with tqdm(total=len(images), desc="addends", unit="image", disable=not progress, leave=False) as bar:
        for values in run(model, images, list({*pairs, *pairs.values()})):
            for own, other in pairs.items():
                height, width = values[own].shape[2:]
                positions = rng.choice(height * width, min(_POSITIONS, height * width), replace=False)
                for name, part in zip((own, other), parts[own], strict=True):
                    part.append(values[name].reshape(*values[name].shape[:2], -1)[:, :, positions].ravel())
            bar.update(len(next(iter(values.values()))))
    return {name: (np.concatenate(own), np.concatenate(other)) for name, (own, other) in parts.items()}


def _cut(whole: Range, own: FloatArray, other: FloatArray) -> Range:
    want = np.maximum(own + other, 0)

    def loss(kept: Range) -> float:
        step = np.float32((kept[1] - kept[0]) / 255)
        zero = np.rint(-kept[0] / step)
        got = (np.clip(np.rint(own / step) + zero, 0, 255) - zero) * step
        return float(np.mean((np.maximum(got + other, 0) - want) ** 2))

    lowest, highest = min(whole[0], 0.0), max(whole[1], 0.0)
    if lowest == highest:
        return whole
    return min(((lowest * part, highest) for part in _PARTS), key=loss)  # the widest of equals
