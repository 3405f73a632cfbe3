"""From the verified float32 graph to the precision that was asked for, with what shows that it may be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable

import onnx

from export.calibration import find_images, read_images
from export.errors import BadInput
from export.half import to_fp16
from export.quantize import quantize_int8
from export.request import Request
from export.source import Source
from export.verify import measure, verify
from service.contract import Certificate, Quantization

FP16_TOLERANCE = 5e-3  # largest difference of a probability from PyTorch's float32

Say = Callable[[str], None]


def convert(
    model: onnx.ModelProto,
    certificate: Certificate,
    request: Request,
    found: Source,
    *,
    report: Say,
    warn: Say,
    progress: bool = False,
) -> tuple[onnx.ModelProto, Certificate]:
    """Return the graph in the request's precision, and its certificate.

    Float16 is verified against PyTorch anew. Int8 is another function: its certificate says how far from PyTorch it
    is, insists on nothing, and says how well it agrees with the float32 graph on images held out. Either keeps the
    checks of the float32 graph it was made from.

    Args:
        model: The float32 graph.
        certificate: What its verification found.
        request: Which precision, and what to calibrate with.
        found: The network, and how its images are prepared.
        report: Told of each step, once it is done.
        warn: Told of what a person had better know.
        progress: Whether long steps draw progress bars on standard error.

    Raises:
        BadInput: int8 without images to calibrate with, or too few of them.
        VerificationFailed: float16 is further from PyTorch than `FP16_TOLERANCE`.
    """
    if request.precision == "fp16":
        return _half(model, certificate, found, report, progress)
    if request.precision == "int8":
        return _int8(model, certificate, request, found, report, warn, progress)
    return model, certificate


def check(request: Request) -> None:
    """Find out before the long work what would stop `convert` after it.

    Raises:
        BadInput: flags that need one another are not all there, or there are too few images to calibrate with.
    """
    if request.precision == "int8" and request.calibration is None:
        raise BadInput("--precision int8 needs --calibration DIR: images like those it will be asked about")
    if request.precision != "int8" and request.calibration is not None:
        raise BadInput(f"--calibration is for --precision int8, not {request.precision}")
    if request.max_drop is not None and request.evaluate is None:
        raise BadInput("--max-drop POINTS needs --evaluate DIR: the labelled photos that it counts on")
    if request.calibration is not None:
        find_images(request.calibration)


def _half(
    model: onnx.ModelProto, certificate: Certificate, found: Source, report: Say, progress: bool
) -> tuple[onnx.ModelProto, Certificate]:
    half = to_fp16(model)
    own = verify(
        half.SerializeToString(),
        found.network,
        found.preprocessing,
        precision="fp16",
        tolerance=FP16_TOLERANCE,
        tie=2 * FP16_TOLERANCE,  # one less and the other more by what is allowed
        progress=progress,
    )
    report(f"fp16      differs from PyTorch by {own.max_difference('fp16'):.1e} at most")
    return half, own.model_copy(update={"checks": certificate.checks + own.checks})


def _int8(
    model: onnx.ModelProto,
    certificate: Certificate,
    request: Request,
    found: Source,
    report: Say,
    warn: Say,
    progress: bool,
) -> tuple[onnx.ModelProto, Certificate]:
    assert request.calibration is not None  # noqa: S101 - `check` has seen to it
    started = time.perf_counter()
    images = read_images(request.calibration, found.preprocessing, seed=request.seed, warn=warn, progress=progress)
    quantized = quantize_int8(
        model, images, seed=request.seed, progress=progress, report=lambda line: report(f"int8      {line}")
    )
    report(
        f"int8      has float32's first class on {quantized.top1_agreement:.1%} of {quantized.held_out} images held "
        f"out of {len(images)} ({time.perf_counter() - started:.1f} s)"
    )
    summary = Quantization(
        method=quantized.method,
        kept_in_float=quantized.kept_in_float,
        images=len(images),
        held_out=quantized.held_out,
        divergence=quantized.divergences[quantized.method],
        top1_agreement=quantized.top1_agreement,
    )
    data = quantized.model.SerializeToString()
    own = measure(data, found.network, found.preprocessing, precision="int8", progress=progress)
    return quantized.model, certificate.model_copy(update={"checks": certificate.checks + own, "quantization": summary})
