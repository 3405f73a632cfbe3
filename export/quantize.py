"""Float32 to eight bits: static quantisation by ONNX Runtime's own quantiser, in the QDQ format.

    images ─┬─ half ─▶ rounding ─▶ weights on the lattice of their scales ─┐
            │       └▶ calibration ─▶ ranges, by several methods ─ addends ┴▶ quantiser ─▶ one candidate a method
            └─ other half ─▶ the candidate whose answers stay closest to float32's
                         └─▶ parts of it that are left in float32, where that pays

Weights are signed and have a scale a channel; activations are unsigned. Preprocessing, the last layer's sums and the
softmax stay in float32: they cost next to nothing, and eight bits of logits would make ties of the leading classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorData, TensorsData, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from export.addends import cut_addends
from export.calibration import Ranges, measure_ranges
from export.graph import FloatArray, probabilities
from export.images import Pixels
from export.rounding import Overrides, round_weights
from export.scratch import scratch
from export.sensitivity import Part, parts, worth_leaving
from export.stem import fold_preprocessing, take_bytes

# What there is in these networks between the first layer and the softmax.
_OPERATORS = [
    "Add", "AveragePool", "Conv", "Gemm", "GlobalAveragePool", "MaxPool", "Pad", "Relu", "Reshape", "Slice",
]  # fmt: skip
# Images, as many as were of any further use.
_ROUNDING_IMAGES, _CALIBRATION_IMAGES, _ADDEND_IMAGES, _SENSITIVITY_IMAGES = 32, 64, 16, 32


@dataclass(frozen=True)
class Quantized:
    """An int8 graph, and how it was chosen.

    Attributes:
        model: The graph.
        method: By which activations' ranges were chosen, as `export.calibration` names them.
        divergences: By method, how far a candidate's answers were from float32's on the images held out.
        kept_in_float: Parts of the network that are left in float32, as `export.sensitivity` names them.
        held_out: Number of those images.
        top1_agreement: Part of them on which the chosen graph has float32's top-1.
    """

    model: onnx.ModelProto
    method: str
    divergences: dict[str, float]
    kept_in_float: tuple[str, ...]
    held_out: int
    top1_agreement: float


def quantize_int8(
    model: onnx.ModelProto, images: Pixels, *, seed: int = 0, progress: bool = False, report: Callable[[str], None]
) -> Quantized:
    """Quantise a graph; the same graph, images and seed give the same file.

    Args:
        model: Float32, as `export.to_onnx` makes it; left as it is.
        images: To calibrate with and to choose by, half and half (N, H, W, 3).
        seed: Of what is drawn at random.
        progress: Whether to draw progress bars on standard error.
        report: Told of each candidate.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    seen, held_out = images[order[: len(images) // 2]], images[order[len(images) // 2 :]]
    with _quiet():
        prepared = _prepare(model)
        ranges = measure_ranges(prepared, _OPERATORS, seen[:_CALIBRATION_IMAGES], progress=progress)
        ranges = cut_addends(prepared, ranges, seen[:_ADDEND_IMAGES], seed=seed, progress=progress)
        rounded, overrides = round_weights(prepared, seen[:_ROUNDING_IMAGES], seed=seed, progress=progress)
        want = probabilities(model, held_out)
        candidates, answers = {}, {}
        for method in tqdm(ranges, desc="comparing", unit="method", disable=not progress, leave=False):
            candidates[method] = _quantize(rounded, ranges[method], overrides)
            answers[method] = probabilities(candidates[method], held_out)
        divergences = {method: divergence(want, got) for method, got in answers.items()}
        best = min(divergences, key=divergences.__getitem__)
        for method, value in divergences.items():
            report(f"{method}: KL divergence {value:.4f}{', kept' if method == best else ''}")

        def left(kept: list[Part]) -> onnx.ModelProto:
            """Return the best candidate, with some parts in float32, their weights rounded all the same."""
            if not kept:
                return candidates[best]
            return _quantize(rounded, ranges[best], overrides, [node for part in kept for node in part.nodes])

        def distance(kept: list[Part]) -> float:
            return divergence(want[:_SENSITIVITY_IMAGES], probabilities(left(kept), held_out[:_SENSITIVITY_IMAGES]))

        kept = worth_leaving(parts(prepared), distance, progress=progress)
        chosen = left(kept)
        got = probabilities(chosen, held_out)
    if kept:
        divergences[best] = divergence(want, got)
        told = ", ".join(part.name for part in kept)
        report(f"left in float32: {told}; KL divergence {divergences[best]:.4f}")
    agreement = float(np.mean(got.argmax(axis=1) == want.argmax(axis=1)))
    return Quantized(chosen, best, divergences, tuple(part.name for part in kept), len(held_out), agreement)


def divergence(want: FloatArray, got: FloatArray) -> float:
    """Return the mean Kullback-Leibler divergence of answers (N, classes) from those wanted, in nats.

    Finer than counting the images on which the top-1 is another, and needs no labels.
    """
    least = np.float32(1e-9)
    return float((want * (np.log(want + least) - np.log(got + least))).sum(axis=1).mean())


def _prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Infer shapes and simplify, as the quantiser wants it."""
    with scratch() as folder:
        source, target = folder / "model.onnx", folder / "prepared.onnx"
        onnx.save(model, source)  # given the graph itself, it loses its weights on the way
        quant_pre_process(source, target, skip_symbolic_shape=True)  # only N is without a number: nothing to solve
        prepared = onnx.load(target)
    fold_preprocessing(prepared)
    return prepared


def _quantize(
    model: onnx.ModelProto, ranges: Ranges, overrides: Overrides, in_float: Sequence[str] = ()
) -> onnx.ModelProto:
    with scratch() as folder:
        source, cache, target = (folder / name for name in ("model.onnx", "ranges.json", "int8.onnx"))
        onnx.save(model, source)
        # The quantiser takes ranges that are known already by way of its cache, under the name of any method.
        method = CalibrationMethod.MinMax
        data = {name: TensorData(lowest=np.float32(a), highest=np.float32(b)) for name, (a, b) in ranges.items()}
        save_tensors_data(TensorsData(method, data), cache)
        quantize_static(
            source,
            target,
            None,
            calibration_cache_path=cache,
            calibrate_method=method,
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # of what export.rounding leaves alone; it says why
            op_types_to_quantize=_OPERATORS,
            nodes_to_exclude=list(in_float),
            extra_options={"TensorQuantOverrides": overrides, "OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        quantized = onnx.load(target)
    take_bytes(quantized)
    return quantized


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice to its own callers from users."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
