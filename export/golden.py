"""Choose the golden images of an artefact: those that it sets apart most clearly (see `service.golden`)."""

from __future__ import annotations

import numpy as np
import onnx
from torch import nn

from export.graph import FloatArray, probabilities
from export.images import synthetic_images
from export.verify import reference
from service.contract import BLOCKS, Golden, Precision, Preprocessing
from service.golden import image_of

_CANDIDATES, _KEPT = 16, 2  # two take a few hundredths of a second at load
# How far another machine's probability may be from this one's, as a part of it. What is wrong is far beyond: another
# order of the channels or of the axes makes another class of it. What is right is within: float32 on a GPU may be
# multiplied with ten bits of mantissa (TF32), and eight bits round differently in another kernel.
TOLERANCES: dict[Precision, float] = {"fp32": 0.03, "fp16": 0.05, "int8": 0.1}


def choose(
    model: onnx.ModelProto, network: nn.Module, preprocessing: Preprocessing, precision: Precision, *, seed: int = 0
) -> tuple[Golden, ...]:
    """Return golden images of a graph, of different classes where there are such; none where none is clear.

    Args:
        model: The graph, as it will be written.
        network: What it was made from: only images on which the two agree are taken.
        preprocessing: Of both.
        precision: Of the graph.
        seed: Of the images that are chosen from.
    """
    blocks = _blocks(seed)  # (n, BLOCKS², 3)
    drawn = [Golden(blocks=each, top1=0, probability=0, tolerance=0) for each in blocks.tolist()]
    images = np.stack([image_of(golden, preprocessing.crop) for golden in drawn])
    want, got = reference(network, preprocessing, images), probabilities(model, images)
    leads = np.minimum(_leads(want), _leads(got))
    leads[want.argmax(axis=1) != got.argmax(axis=1)] = 0
    chosen: dict[int, Golden] = {}  # by class
    for at in np.argsort(-leads):
        top1 = int(got[at].argmax())
        if leads[at] > 2 * TOLERANCES[precision] and top1 not in chosen:
            probability = float(got[at, top1])
            tolerance = TOLERANCES[precision] * probability
            chosen[top1] = Golden(blocks=drawn[at].blocks, top1=top1, probability=probability, tolerance=tolerance)
    return tuple(chosen.values())[:_KEPT]


def _blocks(seed: int) -> FloatArray:
    side = 8 * BLOCKS
    images = synthetic_images(_CANDIDATES + 2, side, seed)[1:-1]  # without the black and the white one
    means = images.reshape(-1, BLOCKS, side // BLOCKS, BLOCKS, side // BLOCKS, 3).mean(axis=(2, 4))
    return np.asarray(means.round().astype(np.uint8).reshape(len(images), BLOCKS**2, 3))


def _leads(rows: FloatArray) -> FloatArray:
    """Return by which part of it the first class's probability is above the second's."""
    second, first = np.sort(rows, axis=1)[:, -2:].T if rows.shape[1] > 1 else (0 * rows[:, 0], rows[:, 0])
    return np.asarray((first - second) / first)
