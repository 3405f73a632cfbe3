"""The engine alone: input already on the device, no copies. The fastest of what is compared is the bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.card.plan import Plan
from service.contract import Contract
from service.engine.choice import session_on_card
from service.engine.cpu import CpuEngine
from service.engine.device import CudaDevice, Device, HostDevice
from service.engine.interface import CUDA, EngineError
from service.engine.lane import Lane
from service.engine.sessions import Tuning, cpu_session

# Each is the service's own choice but for what its name says.
VARIANTS: dict[str, Tuning] = {
    "default": Tuning(),
    "CUDA graphs": Tuning(graphs=True),
    "channels first": Tuning(options={"prefer_nhwc": "0"}),
    "fused bias": Tuning(options={"fuse_conv_bias": "1"}),
    "TF32": Tuning(options={"use_tf32": "1"}),
    "heuristic search": Tuning(options={"cudnn_conv_algo_search": "HEURISTIC"}),
    "channels first, CUDA graphs": Tuning(graphs=True, options={"prefer_nhwc": "0"}),
    "fused bias, CUDA graphs": Tuning(graphs=True, options={"fuse_conv_bias": "1"}),
}
SERVED = ("default", "CUDA graphs")  # the service takes either, whichever is faster
# The difference of a probability that half precision may make, as for the certificate of an artefact.
_TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 1.0}
_CHECKED = 8  # images


@dataclass(frozen=True)
class Reading:
    """The engine alone.

    Attributes:
        precision: Of the artefact.
        variant: Of `VARIANTS`.
        batch: Images a run.
        images_per_s: Images per second, or None where it failed.
        memory_mib: Of the card that session and buffers take, all batch sizes up to this one together.
        difference: Largest difference of a probability from the CPU's.
        trouble: Why there are no figures.
    """

    precision: str
    variant: str
    batch: int = 0
    images_per_s: float | None = None
    memory_mib: float = 0.0
    difference: float = 0.0
    trouble: str = ""


def device_of(plan: Plan) -> Device:
    """Return where the plan measures."""
    return CudaDevice(0) if plan.device == "cuda" else HostDevice()


def measure(artefact: Path, variant: str, plan: Plan, batches: Sequence[int]) -> Iterator[Reading]:
    """Yield a reading for each batch size; what goes wrong is a reading, too: other variants may do."""
    contract, expected = _on_cpu(artefact)
    failed = Reading(contract.precision, variant)
    try:
        device = device_of(plan)
        free, _ = device.memory()
        tuning = VARIANTS[variant]
        lane = Lane(device, contract, _sessions(artefact, contract, tuning, plan), graphs=tuning.graphs)
        difference = float(np.abs(lane.infer(_images(contract)) - expected).max())
        for batch in batches:
            lane.prepare(batch)
            rate = batch / lane.on_device(batch, plan.runs)
            memory_mib = (free - device.memory()[0]) / 2**20
            yield Reading(contract.precision, variant, batch, rate, memory_mib, difference)
    except (EngineError, RuntimeError, ValueError) as error:
        yield replace(failed, trouble=str(error).splitlines()[0][:200])
    except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
        yield replace(failed, trouble=f"{type(error).__name__}: {error}"[:200])


def wrong(reading: Reading) -> bool:
    """Tell whether the answers are not those of the CPU."""
    return reading.difference > _TOLERANCE[reading.precision]


def _sessions(artefact: Path, contract: Contract, tuning: Tuning, plan: Plan) -> Callable[[int], ort.InferenceSession]:
    if plan.device != "cuda":
        return lambda _: cpu_session(artefact)
    return partial(session_on_card, artefact, contract, CUDA, 0, max(plan.batches), tuning)


@cache
def _on_cpu(artefact: Path) -> tuple[Contract, NDArray[np.float32]]:
    """Return what an artefact promises, and what the CPU answers `_images`."""
    engine = CpuEngine(artefact)
    return engine.contract, engine.infer(_images(engine.contract))


def _images(contract: Contract) -> list[NDArray[np.uint8]]:
    crop = contract.preprocessing.crop
    return list(np.random.default_rng(0).integers(0, 256, (_CHECKED, crop, crop, 3), np.uint8))
