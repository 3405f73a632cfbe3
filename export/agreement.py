"""How a graph in each precision does on images that a user gave, beside PyTorch in float32: for the certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from export.errors import BadInput, VerificationFailed
from export.graph import FloatArray, Runner
from export.photos import Photo, decode, insist_on_labels, read_photos
from export.verify import reference
from service.contract import Evaluation, Label, Precision, Preprocessing

_TOGETHER = 8
Say = Callable[[str], None]


@dataclass
class _Sums:
    """What is added up over batches of answers."""

    images: int = 0
    agreeing: int = 0
    largest: float = 0.0
    differences: float = 0.0
    classes: list[int | None] = field(default_factory=list)
    leading: list[NDArray[np.int64]] = field(default_factory=list)  # the first five classes of each image

    def add(self, got: FloatArray, want: FloatArray, photos: Sequence[Photo]) -> None:
        difference = np.abs(got - want)
        self.images += len(photos)
        self.agreeing += int(np.sum(got.argmax(axis=1) == want.argmax(axis=1)))
        self.largest = max(self.largest, float(difference.max()))
        self.differences += float(difference.mean(axis=1).sum())
        self.classes += [photo.class_index for photo in photos]
        self.leading += list(np.argsort(-got, axis=1, kind="stable")[:, :5])

    def evaluation(self, precision: Precision) -> Evaluation:
        known = None not in self.classes
        hits = [leading == index for leading, index in zip(self.leading, self.classes, strict=True)]
        return Evaluation(
            precision=precision,
            images=self.images,
            top1_agreement=self.agreeing / self.images,
            max_difference=self.largest,
            mean_difference=self.differences / self.images,
            labelled=self.images if known else 0,
            top1=float(np.mean([hit[0] for hit in hits])) if known else None,
            top5=float(np.mean([hit.any() for hit in hits])) if known else None,
        )


def evaluate(
    models: Mapping[Precision, onnx.ModelProto],
    network: nn.Module,
    photos: Sequence[Photo],
    preprocessing: Preprocessing,
    *,
    warn: Say,
    progress: bool = False,
) -> tuple[Evaluation, ...]:
    """Return an evaluation for each graph.

    Args:
        models: Graphs of the same network, by precision.
        network: What they were made from, in float32.
        photos: To ask about.
        preprocessing: Of all.
        warn: Told of files that do not decode; they are left out.
        progress: Whether to draw a progress bar on standard error.

    Raises:
        BadInput: none decodes.
    """
    sums = {precision: _Sums() for precision in models}
    runners = {precision: Runner(model) for precision, model in models.items()}
    with tqdm(total=len(photos), desc="evaluating", unit="image", disable=not progress, leave=False) as bar:
        for batch in decode(photos, preprocessing, _TOGETHER, lambda p, why: warn(f"{p.path} is left out: {why}")):
            if batch.photos:
                want = reference(network, preprocessing, batch.pixels)
                for precision, runner in runners.items():
                    sums[precision].add(runner.probabilities(batch.pixels), want, batch.photos)
            bar.update(_TOGETHER)
    if not sums or not next(iter(sums.values())).images:
        raise BadInput("none of the images to evaluate on can be decoded")
    return tuple(each.evaluation(precision) for precision, each in sums.items())


def photos_for(given: Path, labels: Sequence[Label], *, must_be_labelled: bool) -> list[Photo]:
    """Return what `--evaluate` names.

    Raises:
        BadInput: there are none, or labels are needed and unknown.
    """
    photos = read_photos(given, labels)
    if must_be_labelled:
        insist_on_labels(given, photos)
    return photos


def insist_on_accuracy(evaluations: Sequence[Evaluation], precision: Precision, max_drop: float) -> None:
    """Refuse a precision that costs too much accuracy.

    Args:
        evaluations: Of float32 and of the precision, on labelled images.
        precision: Of the artefact.
        max_drop: Most percentage points of top-1 that it may lose against float32.

    Raises:
        VerificationFailed: it loses more.
    """
    top1 = {evaluation.precision: evaluation.top1 or 0.0 for evaluation in evaluations}
    images = evaluations[0].images
    drop = 100 * (top1["fp32"] - top1[precision])
    if drop > max_drop + 1e-9:  # so that one photo of 200 is half a point, whatever the rounding
        raise VerificationFailed(
            f"{precision} gets {top1[precision]:.1%} of {images} photos right, float32 {top1['fp32']:.1%}: "
            f"{drop:.1f} points lost, --max-drop allows {max_drop:g}; nothing was written"
        )
