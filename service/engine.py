"""ONNX Runtime: an artefact becomes sessions, a batch becomes probabilities. Nothing else knows ONNX Runtime."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import onnxruntime as ort

from service.contract import INPUT_NAME, OUTPUT_NAME, Contract, ContractError
from service.errors import StartError
from service.shortage import is_shortage
from service.threads import available_cores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
# On the CPU larger batches than these gain nothing, take memory, and keep a core from who comes next.
_LARGEST_ON_CPU = 8
_LONGEST_ON_CPU_S = 0.2


class EngineError(StartError, RuntimeError):
    """The engine cannot be built as asked; the message says why."""


class Engine(Protocol):
    """What serving needs of an engine.

    Attributes:
        contract: What the artefact promises.
        provider: The execution provider in use, as the session reports it.
        lanes: How many runs may go on at once.
        pipelined: Whether lanes share one device.
        can_widen: Whether one run can use every lane's cores.
    """

    contract: Contract
    provider: str
    lanes: int
    pipelined: bool
    can_widen: bool

    def infer(self, images: Sequence[NDArray[np.uint8]], *, wide: bool = False) -> NDArray[np.float32]:
        """Return the probabilities (n, classes) of n images, each (H, W, 3); blocks, and may be called at once."""

    def warm_up(self, max_batch_size: int) -> dict[int, float]:
        """Run each batch size worth running; return seconds per run by batch size."""


class OrtEngine:
    """An artefact in ONNX Runtime.

    On the CPU there are two sessions. Under load the fastest arrangement is one thread a run and one run a core:
    no run waits for its own slowest thread. For a lone image it is all cores on one run. The same weights are
    held twice for that; measurements are in docs/performance.md.

    Args:
        path: The artefact.
        provider: "auto" takes CUDA where it works and else the CPU; "cuda" insists.
        intra_op_num_threads: Threads per run on the CPU under load; 0 for one.
        device_id: Which CUDA device.

    Raises:
        EngineError: the file cannot be loaded, or CUDA was insisted on and does not work.
        ContractError: the file carries no contract, or one that its graph contradicts.
    """

    def __init__(
        self,
        path: Path,
        *,
        provider: Literal["auto", "cuda", "cpu"] = "auto",
        intra_op_num_threads: int = 0,
        device_id: int = 0,
    ) -> None:
        cores = available_cores()
        threads = intra_op_num_threads or 1
        session = None if provider == "cpu" else _cuda_session(path, device_id, insist=provider == "cuda")
        self.pipelined = session is not None
        if session is not None:
            self.lanes, self._narrow = 2, session
            self.can_widen, self._wide = False, session
        else:
            self.lanes = max(1, cores // threads)
            self.can_widen = self.lanes > 1
            self._narrow, self._wide = _cpu_sessions(path, threads, cores if self.can_widen else threads)
        self.provider = self._narrow.get_providers()[0]
        self.contract = Contract.from_metadata(self._narrow.get_modelmeta().custom_metadata_map)
        _check_graph(self._narrow, self.contract)

    def infer(self, images: Sequence[NDArray[np.uint8]], *, wide: bool = False) -> NDArray[np.float32]:
        """Return the probabilities (n, classes) of n images, each (H, W, 3)."""
        batch = images[0][np.newaxis] if len(images) == 1 else np.stack(images)  # (N, H, W, 3)
        session = self._wide if wide else self._narrow
        rows: NDArray[np.float32] = session.run([OUTPUT_NAME], {INPUT_NAME: batch})[0]
        return rows

    def warm_up(self, max_batch_size: int) -> dict[int, float]:
        """Run batch sizes 1, 2, 4, …: on a GPU all, on the CPU as long as an image gets cheaper; return seconds."""
        crop = self.contract.preprocessing.crop
        image = np.full((crop, crop, 3), 127, np.uint8)
        if self.can_widen:
            self.infer([image], wide=True)
        seconds: dict[int, float] = {}
        best = float("inf")
        for size in _buckets(max_batch_size if self.pipelined else min(max_batch_size, _LARGEST_ON_CPU)):
            try:
                self.infer([image] * size)  # the first run of a shape allocates, and on a GPU searches algorithms
            except Exception as error:
                if not seconds or not is_shortage(error):
                    raise
                logger.warning("batches have %d images at most: %d do not fit in memory", max(seconds), size)
                break
            seconds[size] = min(_timed(self, [image] * size) for _ in range(2))
            if not self.pipelined and (seconds[size] / size > best or 2 * seconds[size] > _LONGEST_ON_CPU_S):
                break
            best = seconds[size] / size
        return seconds


def _buckets(largest: int) -> list[int]:
    """Return 1, 2, 4, … up to and including `largest`."""
    sizes = [1]
    while sizes[-1] * 2 < largest:
        sizes.append(sizes[-1] * 2)
    return sizes if largest == 1 else [*sizes, largest]


def _timed(engine: OrtEngine, images: list[NDArray[np.uint8]]) -> float:
    started = time.perf_counter()
    engine.infer(images)
    return time.perf_counter() - started


def _cpu_sessions(path: Path, narrow: int, wide: int) -> tuple[ort.InferenceSession, ort.InferenceSession]:
    if narrow == wide:
        session = _session(path, [CPU], narrow)
        return session, session
    # Loading is single-threaded: side by side, the second one hides behind the first where there is a second core.
    with ThreadPoolExecutor(2) as pool:
        # Spinning between operators makes a lone image faster by a tenth, and takes a core from whoever needs it.
        futures = [pool.submit(_session, path, [CPU], narrow), pool.submit(_session, path, [CPU], wide, spin=True)]
        return futures[0].result(), futures[1].result()


def _cuda_session(path: Path, device_id: int, *, insist: bool) -> ort.InferenceSession | None:
    reason = f"ONNX Runtime here was built for {', '.join(ort.get_available_providers())}"
    if CUDA in ort.get_available_providers():
        ort.preload_dlls()  # the CUDA and cuDNN wheels' libraries, which are not on the loader's path
        session = _session(path, [(CUDA, {"device_id": device_id}), CPU], 1)
        if session.get_providers()[0] == CUDA:
            logger.info("provider: %s", CUDA)
            return session
        reason = "ONNX Runtime could not start CUDA; its own message is above"
    if insist:
        raise EngineError(f"--provider cuda, but CUDA does not work here: {reason}")
    logger.info("provider: %s (no CUDA: %s)", CPU, reason)
    return None


def _session(path: Path, providers: list[Any], threads: int, *, spin: bool = False) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")  # when the run ends
    options.enable_mem_pattern = False  # memory by the largest batch seen, not one plan for each: same speed
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(path, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
        raise EngineError(f"{path.resolve()} cannot be loaded: {error}") from error


def _check_graph(session: ort.InferenceSession, contract: Contract) -> None:
    crop, classes = contract.preprocessing.crop, len(contract.labels)
    inputs = {node.name: (node.type, node.shape[1:]) for node in session.get_inputs()}
    outputs = {node.name: (node.type, node.shape[1:]) for node in session.get_outputs()}
    if inputs != {INPUT_NAME: ("tensor(uint8)", [crop, crop, 3])}:
        raise ContractError(f"the contract promises {INPUT_NAME} uint8 (N, {crop}, {crop}, 3), not {inputs}")
    if outputs != {OUTPUT_NAME: ("tensor(float)", [classes])}:
        raise ContractError(f"the contract promises {OUTPUT_NAME} float32 (N, {classes}), not {outputs}")
