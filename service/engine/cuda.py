"""The engine on a card: lanes that share it, so that one's copies and assembly go on beside the other's compute."""

from __future__ import annotations

import logging
from queue import SimpleQueue
from typing import TYPE_CHECKING

from service.engine.interface import buckets, contract_of, grey_image, measured
from service.engine.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import onnxruntime as ort
    from numpy.typing import NDArray

    from service.backend import Images
    from service.contract import Contract
    from service.engine.device import Device

logger = logging.getLogger(__name__)

LANES = 2  # one computes while the other one's images come in and its rows go out


class CudaEngine:
    """An artefact on a device.

    Each lane has a session of its own, since CUDA graphs and streams are a session's: the weights are held once for
    each.

    Args:
        device: Where it computes.
        contract: What the artefact promises.
        session: Makes a session, given a stream of the device.
        graphs: See `service.engine.lane.Lane`.

    Raises:
        EngineError: a session cannot be made.
        ContractError: the graph contradicts the contract.
    """

    lanes = LANES
    pipelined = True
    can_widen = False

    def __init__(
        self,
        device: Device,
        contract: Contract,
        session: Callable[[int], ort.InferenceSession],
        *,
        graphs: bool | None = False,
    ) -> None:
        self.device = device
        self._all = [Lane(device, contract, session, graphs=graphs) for _ in range(LANES)]
        self._idle: SimpleQueue[Lane] = SimpleQueue()
        for lane in self._all:
            self._idle.put(lane)
        self.provider = self._all[0].session.get_providers()[0]
        self.contract = contract_of(self._all[0].session)

    def infer(self, images: Images, *, wide: bool = False) -> NDArray[np.float32]:
        """Return the probabilities (n, classes) of n images, each (H, W, 3)."""
        lane = self._idle.get()
        try:
            return lane.infer(images)
        finally:
            self._idle.put(lane)

    def warm_up(self, max_batch_size: int) -> dict[int, float]:
        """Prepare and run batch sizes 1, 2, 4, …, `max_batch_size`, as far as memory goes; return seconds per run."""
        grey = grey_image(self.contract)
        seconds = measured(buckets(max_batch_size), prepare=self._prepare, run=lambda size: self.infer([grey] * size))
        free, total = self.device.memory()
        if total:
            logger.info("card %d: %.0f of %.0f MiB are free", self.device.index, free / 2**20, total / 2**20)
        if graphs := self._all[0].captured:
            logger.info("batches of %s are replayed from CUDA graphs", ", ".join(map(str, graphs)))
        return seconds

    def on_device(self, size: int, runs: int) -> float:
        """Return the seconds of one run of a prepared batch size without any copy, on average: what no server beats."""
        return self._all[0].on_device(size, runs)

    def _prepare(self, size: int) -> None:
        try:
            for lane in self._all:  # one after the other: nothing else may touch the card while a graph is captured
                lane.prepare(size)
        except Exception:
            for lane in self._all:
                lane.forget(size)
            raise
