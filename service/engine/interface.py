"""What serving needs of an engine, and what every artefact's graph must be."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from service.contract import INPUT_NAME, OUTPUT_NAME, Contract, ContractError
from service.errors import StartError
from service.shortage import is_shortage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import onnxruntime as ort
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

# Of as many runs the fastest counts, since whatever else the machine does only ever makes a run slower. Where they are
# all over within one time slice of a scheduler, they may all have met the same disturbance: then there are more.
_RUNS = 2
_BRIEF_S = 0.01


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


def contract_of(session: ort.InferenceSession) -> Contract:
    """Return the contract of the artefact in `session`.

    Raises:
        ContractError: it carries none, or one that its graph contradicts.
    """
    contract = Contract.from_metadata(session.get_modelmeta().custom_metadata_map)
    crop, classes = contract.preprocessing.crop, len(contract.labels)
    inputs = {node.name: (node.type, node.shape[1:]) for node in session.get_inputs()}
    outputs = {node.name: (node.type, node.shape[1:]) for node in session.get_outputs()}
    if inputs != {INPUT_NAME: ("tensor(uint8)", [crop, crop, 3])}:
        raise ContractError(f"the contract promises {INPUT_NAME} uint8 (N, {crop}, {crop}, 3), not {inputs}")
    if outputs != {OUTPUT_NAME: ("tensor(float)", [classes])}:
        raise ContractError(f"the contract promises {OUTPUT_NAME} float32 (N, {classes}), not {outputs}")
    return contract


def buckets(largest: int) -> list[int]:
    """Return 1, 2, 4, … up to and including `largest`."""
    sizes = [1]
    while sizes[-1] * 2 < largest:
        sizes.append(sizes[-1] * 2)
    return sizes if largest == 1 else [*sizes, largest]


def bucket_for(images: int) -> int:
    """Return the smallest of 1, 2, 4, … that holds so many images."""
    return 1 << max(0, images - 1).bit_length()


def grey_image(contract: Contract) -> NDArray[np.uint8]:
    """Return an image that the artefact takes, (crop, crop, 3)."""
    crop = contract.preprocessing.crop
    return np.full((crop, crop, 3), 127, np.uint8)


def measured(
    sizes: Iterable[int],
    *,
    prepare: Callable[[int], object],
    run: Callable[[int], object],
    enough: Callable[[dict[int, float]], bool] = lambda _: False,
) -> dict[int, float]:
    """Return what a run costs in seconds for each batch size that there is memory for, the best of several runs each.

    Args:
        sizes: Growing.
        prepare: Makes ready for a size; may run out of memory, and then that size and larger ones are left out.
        run: Runs it.
        enough: Told of all costs so far, says whether larger sizes are not worth running.
    """
    seconds: dict[int, float] = {}
    for size in sizes:
        try:
            prepare(size)
        except Exception as error:
            if not seconds or not is_shortage(error):
                raise
            logger.warning("batches have %d images at most: %d do not fit in memory", max(seconds), size)
            break
        seconds[size] = _at_its_best(run, size)
        if enough(seconds):
            break
    return seconds


def _at_its_best(run: Callable[[int], object], size: int) -> float:
    seconds = [duration(run, size) for _ in range(_RUNS)]
    while sum(seconds) < _BRIEF_S:
        seconds.append(duration(run, size))
    return min(seconds)


def duration(run: Callable[[int], object], size: int) -> float:
    """Return the seconds that `run` takes for a batch of `size`."""
    started = time.perf_counter()
    run(size)
    return time.perf_counter() - started
