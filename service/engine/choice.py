"""Which execution provider works here, and its engine."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from service.engine.cpu import CpuEngine
from service.engine.cuda import LANES, CudaEngine
from service.engine.device import CudaDevice
from service.engine.interface import CPU, CUDA, TENSORRT, EngineError, contract_of
from service.engine.sessions import (
    Tuning,
    check_provider,
    cpu_session,
    cuda_options,
    missing,
    session,
    tensorrt_options,
)

if TYPE_CHECKING:
    from pathlib import Path

    import onnxruntime as ort

    from service.contract import Contract
    from service.engine.interface import Engine

logger = logging.getLogger(__name__)

Choice = Literal["auto", "cuda", "tensorrt", "cpu"]
_WANTED = {"auto": (CUDA, "CUDA"), "cuda": (CUDA, "CUDA"), "tensorrt": (TENSORRT, "TensorRT")}


def open_engine(
    path: Path,
    *,
    provider: Choice = "auto",
    intra_op_num_threads: int = 0,
    device_id: int = 0,
    max_batch_size: int = 32,
    tuning: Tuning | None = None,
) -> Engine:
    """Return the engine of an artefact, not warmed yet.

    Args:
        path: The artefact.
        provider: "auto" takes CUDA where it works and else the CPU; the others insist.
        intra_op_num_threads: Threads per run on the CPU under load; 0 for one.
        device_id: Which CUDA device.
        max_batch_size: Images in one run at most; what TensorRT builds for.
        tuning: How a card is used, where not by default.

    Raises:
        EngineError: the file cannot be loaded, or a provider was insisted on and does not work.
        ContractError: the file carries no contract, or one that its graph contradicts.
    """
    if provider == "cpu":
        return CpuEngine(path, intra_op_num_threads)
    wanted, name = _WANTED[provider]
    reason = missing(wanted)
    if reason is None:
        contract = contract_of(cpu_session(path))  # options depend on it, and a file at fault is no fault of the card
        try:
            engine = _on_card(path, contract, wanted, device_id, max_batch_size, tuning or Tuning())
            logger.info("provider: %s", engine.provider)
            return engine
        except EngineError as error:
            reason = str(error)
    if provider != "auto":
        raise EngineError(f"--provider {provider}, but {name} does not work here: {reason}")
    logger.info("provider: %s (no CUDA: %s)", CPU, reason)
    return CpuEngine(path, intra_op_num_threads)


def _on_card(
    path: Path, contract: Contract, provider: str, device_id: int, max_batch_size: int, tuning: Tuning
) -> CudaEngine:
    device = CudaDevice(device_id)
    if provider == TENSORRT:  # which fuses the whole network into one node: there is little left to replay
        tuning = replace(tuning, graphs=False)
    make = partial(session_on_card, path, contract, provider, device_id, max_batch_size, tuning)
    try:
        return CudaEngine(device, contract, make, graphs=tuning.graphs)
    except EngineError as error:
        if tuning.graphs is not None:
            raise
        # ONNX Runtime refuses graphs where a node is not the card's, as some of int8's are.
        logger.info("no CUDA graphs for this artefact: %s", error)
    return _on_card(path, contract, provider, device_id, max_batch_size, replace(tuning, graphs=False))


def session_on_card(
    path: Path,
    contract: Contract,
    provider: str,
    device_id: int,
    max_batch_size: int,
    tuning: Tuning,
    stream: int,
) -> ort.InferenceSession:
    """Return a session whose work goes into `stream` of a card.

    Raises:
        EngineError: it cannot be made, or ONNX Runtime falls back to another provider.
    """
    if (reason := missing(provider)) is not None:  # which also loads what the provider is linked against
        raise EngineError(reason)
    cuda = (CUDA, cuda_options(device_id, stream, tuning, LANES, contract))
    providers = [cuda, CPU]
    if provider == TENSORRT:
        providers = [(TENSORRT, tensorrt_options(device_id, stream, tuning, contract, max_batch_size)), *providers]
    made = session(path, providers, 1)
    check_provider(provider, made)
    return made
