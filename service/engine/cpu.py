"""The engine on the CPU."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from service.contract import INPUT_NAME, OUTPUT_NAME
from service.engine.interface import CPU, buckets, contract_of, grey_image, measured
from service.engine.sessions import session
from service.threads import available_cores, bound_to, own_cores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnxruntime as ort
    from numpy.typing import NDArray

# Larger batches than these gain nothing, take memory, and keep a core from who comes next.
_LARGEST = 8
_LONGEST_S = 0.2
# Neighbouring sizes often cost nearly the same an image. By less than this one is not dearer: it was disturbed.
_NOISE = 1.05


class CpuEngine:
    """An artefact on the CPU.

    There are two sessions. Under load the fastest arrangement is one thread a run and one run a core: no run waits for
    its own slowest thread. For a lone image it is all cores on one run. The same weights are held twice for that;
    measurements are in docs/performance.md.

    Args:
        path: The artefact.
        intra_op_num_threads: Threads per run under load; 0 for one.

    Raises:
        EngineError: the file cannot be loaded.
        ContractError: the file carries no contract, or one that its graph contradicts.
    """

    pipelined = False

    def __init__(self, path: Path, intra_op_num_threads: int = 0) -> None:
        cores = available_cores()
        threads = intra_op_num_threads or 1
        self.lanes = max(1, cores // threads)
        self.can_widen = self.lanes > 1
        # A lone image's threads each keep to a core. Else the kernel wakes the session's on the caller's core, where
        # cores share no cache, and only a tick or several later finds that another idles: docs/performance.md.
        self._cores = own_cores() if self.can_widen else []
        self._narrow, self._wide = _sessions(path, threads, cores if self.can_widen else threads, self._cores)
        self.provider = self._narrow.get_providers()[0]
        self.contract = contract_of(self._narrow)

    def infer(self, images: Sequence[NDArray[np.uint8]], *, wide: bool = False) -> NDArray[np.float32]:
        """Return the probabilities (n, classes) of n images, each (H, W, 3)."""
        batch = images[0][np.newaxis] if len(images) == 1 else np.stack(images)  # (N, H, W, 3)
        chosen = self._wide if wide else self._narrow
        with bound_to(self._cores[0]) if wide and self._cores else nullcontext():
            rows: NDArray[np.float32] = chosen.run([OUTPUT_NAME], {INPUT_NAME: batch})[0]
        return rows

    def warm_up(self, max_batch_size: int) -> dict[int, float]:
        """Run batch sizes 1, 2, 4, … as long as an image gets no dearer; return seconds per run."""
        grey = grey_image(self.contract)
        if self.can_widen:
            self.infer([grey], wide=True)
        return measured(
            buckets(min(max_batch_size, _LARGEST)),
            prepare=lambda size: self.infer([grey] * size),  # the first run of a shape allocates
            run=lambda size: self.infer([grey] * size),
            enough=_gets_dearer,
        )


def _gets_dearer(seconds: dict[int, float]) -> bool:
    each = [cost / size for size, cost in seconds.items()]
    return each[-1] > _NOISE * min(each) or 2 * seconds[max(seconds)] > _LONGEST_S


def _sessions(
    path: Path, narrow: int, wide: int, cores: Sequence[int]
) -> tuple[ort.InferenceSession, ort.InferenceSession]:
    if narrow == wide:
        only = session(path, [CPU], narrow)
        return only, only
    # Loading is single-threaded: side by side, the second one hides behind the first where there is a second core.
    with ThreadPoolExecutor(2) as pool:
        # Spinning between operators makes a lone image faster by a tenth, and takes a core from whoever needs it.
        futures = [
            pool.submit(session, path, [CPU], narrow),
            pool.submit(session, path, [CPU], wide, spin=True, cores=cores),
        ]
        return futures[0].result(), futures[1].result()
