"""The steps of an export, in a row."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from export import contract, golden, precision, repository, source
from export.agreement import evaluate, insist_on_accuracy, photos_for
from export.certificate import documents
from export.labels import IMAGENET_CLASSES, default_labels
from export.photos import Photo
from export.request import AUTO, Request
from export.source import Source
from export.to_onnx import OPSET, to_onnx
from export.verify import verify
from service.contract import Certificate, Evaluation, Golden, Label, Precision
from service.repository import FILE_NAME
from service.seal import seal

# Two ways to compute the same probabilities in float32 never come this close, unless they are all 0 or 1.
ROUNDING = 1e-12

Say = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """An artefact, written.

    Attributes:
        path: Of the ONNX file.
        size_bytes: Of the ONNX file.
        certificate: What its verification found.
    """

    path: Path
    size_bytes: int
    certificate: Certificate


def export(request: Request, *, report: Say, warn: Say, progress: bool = False) -> Exported:
    """Make the artefact a request asks for, verified, in the repository.

    Args:
        request: What to export.
        report: Told of each step, once it is done.
        warn: Told of what a person had better know.
        progress: Whether long steps draw progress bars on standard error.

    Raises:
        ExportError: one of its kinds; then the repository is as it was.
    """
    precision.check(request)
    settings = request.settings()
    if request.architecture != AUTO:
        _check_destination(request, request.architecture)  # before a download
    found = source.load(request, progress=progress)
    _check_destination(request, found.architecture)
    report(f"weights   {_described(found)}")
    if not found.weights.trained:
        warn(f"the weights are UNTRAINED (random, seed {request.seed}): every prediction will be meaningless")
    labels = _labels(request, found, report, warn)
    photos = _photos(request, labels)
    float32, certificate = _verified_graph(found, report, progress)
    if certificate.max_difference("fp32") < ROUNDING:
        warn("the network answers every test image with 0 or 1, so the comparison with PyTorch shows little")
    model, certificate = precision.convert(
        float32, certificate, request, found, report=report, warn=warn, progress=progress
    )
    if photos:
        graphs = {"fp32": float32, request.precision: model}
        evaluations = _evaluated(graphs, photos, found, request, report, warn, progress)
        certificate = certificate.model_copy(update={"evaluations": evaluations})
    promise = contract.build(
        name=request.name or found.architecture,
        architecture=found.architecture,
        precision=request.precision,
        weights=found.weights,
        preprocessing=found.preprocessing,
        labels=labels,
        certificate=certificate,
        golden=_golden(model, found, request, warn),
    )
    contract.attach(model, promise, settings)
    data = seal(model.SerializeToString())
    with repository.stage(request.output / promise.name, request.version, replace=request.force) as staging:
        for name, document in documents(promise, data).items():
            staging.write(name, document)
        staging.write(FILE_NAME, data)
    return Exported(staging.published / FILE_NAME, len(data), certificate)


def _check_destination(request: Request, architecture: str) -> None:
    """Fail before the long work where `stage` would after it."""
    repository.check(request.output / (request.name or architecture), request.version, replace=request.force)


def _labels(request: Request, found: Source, report: Say, warn: Say) -> tuple[Label, ...]:
    labels = request.labels or default_labels(found.num_classes)
    if request.labels is None and found.num_classes != IMAGENET_CLASSES:
        warn(f"no --labels given: the {found.num_classes} classes are called {labels[0].label!r} and so on")
    origin = "as given" if request.labels else "ImageNet's" if found.num_classes == IMAGENET_CLASSES else "numbered"
    report(f"labels    {len(labels)} classes, {origin}: {labels[0].label} … {labels[-1].label}")
    return labels


def _verified_graph(found: Source, report: Say, progress: bool) -> tuple[onnx.ModelProto, Certificate]:
    started = time.perf_counter()
    model = to_onnx(found.network, found.preprocessing)
    report(f"graph     {len(model.graph.node)} nodes, opset {OPSET} ({time.perf_counter() - started:.1f} s)")
    started = time.perf_counter()
    certificate = verify(model.SerializeToString(), found.network, found.preprocessing, progress=progress)
    sizes = ", ".join(str(check.batch_size) for check in certificate.checks if check.optimized)
    report(
        f"verified  against PyTorch in batches of {sizes}, optimisations off and on: differs by "
        f"{certificate.max_difference('fp32'):.1e} at most ({time.perf_counter() - started:.1f} s)"
    )
    return model, certificate


def _photos(request: Request, labels: tuple[Label, ...]) -> list[Photo]:
    """Return what to evaluate on: found before the long work, so that nothing is wrong with it after."""
    if request.evaluate is None:
        return []
    return photos_for(request.evaluate, labels, must_be_labelled=request.max_drop is not None)


def _evaluated(
    graphs: Mapping[Precision, onnx.ModelProto],
    photos: list[Photo],
    found: Source,
    request: Request,
    report: Say,
    warn: Say,
    progress: bool,
) -> tuple[Evaluation, ...]:
    evaluations = evaluate(graphs, found.network, photos, found.preprocessing, warn=warn, progress=progress)
    for each in evaluations:
        accuracy = f", top-1 {each.top1:.1%}, top-5 {each.top5:.1%}" if each.labelled else ""
        report(
            f"evaluated {each.precision}: PyTorch's first class on {each.top1_agreement:.1%} of {each.images}{accuracy}"
        )
    if request.max_drop is not None:
        insist_on_accuracy(evaluations, request.precision, request.max_drop)
    return evaluations


def _golden(model: onnx.ModelProto, found: Source, request: Request, warn: Say) -> tuple[Golden, ...]:
    chosen = golden.choose(model, found.network, found.preprocessing, request.precision)
    if not chosen:
        warn("no image sets the classes apart clearly: without a golden image, the service cannot check itself")
    return chosen


def _described(found: Source) -> str:
    weights, preprocessing = found.weights, found.preprocessing
    sha256 = f", sha256 {weights.sha256[:8]}…" if weights.sha256 else ""
    return (
        f"{found.architecture}, {weights.name}{sha256}; "
        f"images resized to {preprocessing.resize}, cropped to {preprocessing.crop}"
    )
