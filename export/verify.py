"""Does the ONNX graph compute what PyTorch computes? The answer is the artefact's certificate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from export.errors import VerificationFailed
from export.images import Pixels, synthetic_images
from service.contract import INPUT_NAME, OUTPUT_NAME, Certificate, Check, Precision, Preprocessing

TOLERANCE = 1e-4  # largest difference of a probability that passes
BATCH_SIZES = (1, 2, 3, 8)
# Two classes whose probabilities PyTorch itself sets apart by less than this are a tie: float32's rounding,
# which the order of a sum decides, is enough to swap them. Trained networks hardly ever come near; the nearly
# flat answers of untrained ones do.
TIE = 1e-6

Probabilities = NDArray[np.float32]


def verify(
    model: bytes,
    network: nn.Module,
    preprocessing: Preprocessing,
    *,
    precision: Precision = "fp32",
    batch_sizes: Sequence[int] = BATCH_SIZES,
    tolerance: float = TOLERANCE,
    tie: float = TIE,
    seed: int = 0,
    progress: bool = False,
) -> Certificate:
    """Insist that an ONNX model computes what the network does that it was made from.

    Args:
        model: The serialised ONNX model, without external data.
        network: The network in eval mode, on the CPU, float32.
        preprocessing: What the model does to pixels before the network.
        precision: Of the model.
        batch_sizes: Sizes to compare at.
        tolerance: Largest difference of probabilities that passes.
        tie: Classes that PyTorch sets apart by no more may change places.
        seed: Of the images.
        progress: Whether to draw a progress bar on standard error.

    Raises:
        VerificationFailed: a probability is further off, or a top-1 class is another (unless the two are a tie).
    """
    checks = measure(
        model,
        network,
        preprocessing,
        precision=precision,
        batch_sizes=batch_sizes,
        tie=tie,
        seed=seed,
        progress=progress,
    )
    for check in checks:
        if fault := violation(check, tolerance):
            raise VerificationFailed(f"{fault}: nothing was written")
    return Certificate(tolerance=tolerance, checks=checks)


def measure(
    model: bytes,
    network: nn.Module,
    preprocessing: Preprocessing,
    *,
    precision: Precision = "fp32",
    batch_sizes: Sequence[int] = BATCH_SIZES,
    tie: float = TIE,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Check, ...]:
    """Compare an ONNX model with a network, with ONNX Runtime's optimisations off and on.

    Every batch size gets images of its own, the same at both levels.

    Args:
        model: The serialised ONNX model, without external data.
        network: The network in eval mode, on the CPU, float32.
        preprocessing: What the model does to pixels before the network.
        precision: Of the model.
        batch_sizes: Sizes to compare at.
        tie: Classes that PyTorch sets apart by no more may change places.
        seed: Of the images.
        progress: Whether to draw a progress bar on standard error.
    """
    images = synthetic_images(sum(batch_sizes), preprocessing.crop, seed)
    batches = np.split(images, np.cumsum(batch_sizes)[:-1])  # each (N, crop, crop, 3)
    bar = tqdm(total=3 * len(images), desc="verifying", unit="image", disable=not progress, leave=False)
    with bar:
        wanted = []
        for batch in batches:
            wanted.append(reference(network, preprocessing, batch))
            bar.update(len(batch))
        checks = []
        for optimized in (False, True):
            session = _session(model, optimized)
            for batch, want in zip(batches, wanted, strict=True):
                got = session.run([OUTPUT_NAME], {INPUT_NAME: batch})[0]
                checks.append(compare(got, want, optimized, tie, precision))
                bar.update(len(batch))
    return tuple(checks)


def reference(network: nn.Module, preprocessing: Preprocessing, images: Pixels) -> Probabilities:
    """Return PyTorch's own answer, with the preprocessing written as torchvision does it.

    The graph computes the same in another order (`export.to_onnx.Preprocess`); a mistake there shows here.

    Args:
        network: In eval mode.
        preprocessing: Mean and standard deviation.
        images: (N, H, W, 3).

    Returns:
        Probabilities (N, classes).
    """
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()  # (N, 3, H, W)
    x = (x.float() / 255 - mean) / std
    with torch.inference_mode():
        probabilities: Probabilities = torch.softmax(network(x), dim=1).numpy()
    return probabilities


def compare(
    got: Probabilities, want: Probabilities, optimized: bool, tie: float = TIE, precision: Precision = "fp32"
) -> Check:
    """Return how far the artefact's probabilities (N, classes) are from PyTorch's; a tie counts as agreement."""
    if got.shape != want.shape:
        raise VerificationFailed(f"ONNX answers {got.shape}, PyTorch {want.shape}: nothing was written")
    difference = np.abs(got.astype(np.float64) - want)
    # How much less PyTorch gives the class that ONNX puts first than the one it puts first itself.
    lead = want.max(axis=1) - np.take_along_axis(want, got.argmax(axis=1)[:, None], axis=1)[:, 0]
    return Check(
        precision=precision,
        batch_size=len(want),
        optimized=optimized,
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        top1_agreement=float(np.mean(lead <= tie)),
    )


def _session(model: bytes, optimized: bool) -> ort.InferenceSession:
    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    options.log_severity_level = 3
    # Threads that spin while they wait take the processor from one another wherever anything else is running.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def violation(check: Check, tolerance: float) -> str | None:
    """Return what is wrong with a comparison: probabilities too far off, or another first class; None where nothing."""
    where = f"batch {check.batch_size}, optimisations {'on' if check.optimized else 'off'}"
    if not check.max_difference <= tolerance:  # so written, NaN fails too
        return f"ONNX and PyTorch differ by {check.max_difference:.1e} ({where}; {tolerance:.0e} is allowed)"
    if check.top1_agreement < 1:
        return f"ONNX and PyTorch agree on the first class of only {check.top1_agreement:.0%} ({where})"
    return None
