"""When memory runs out in the middle of a run: half as many images at a time need half as much."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.backend import Images
    from service.engine import Engine

logger = logging.getLogger(__name__)

# What ONNX Runtime's arenas say, with a limit of their own and without, the C++ runtime, CUDA, cuBLAS and cuDNN. Its
# exceptions tell no kinds apart.
_SAID = re.compile(
    r"out of memory|failed to allocate|smaller than requested bytes|free memory block|bad_alloc"
    r"|_ALLOC(ATION)?_FAILED|MemoryAllocation",
    re.IGNORECASE,
)


def is_shortage(error: BaseException) -> bool:
    """Tell whether `error` says that there was not enough memory, of the machine or of the device."""
    return isinstance(error, MemoryError) or _SAID.search(str(error)) is not None


def infer(engine: Engine, images: Images, *, wide: bool) -> NDArray[np.float32]:
    """Return what `engine` answers for `images`; if that takes too much memory, for one half after the other.

    Once: whoever is short of memory for half a batch, too, has other trouble.
    """
    try:
        return engine.infer(images, wide=wide)
    except Exception as error:
        half = len(images) // 2
        if not half or not is_shortage(error):
            raise
        logger.warning("a batch of %d does not fit in memory, so it is run in two halves: %s", len(images), error)
    # Outside the block above: its error holds on to what the failed run had allocated.
    return np.concatenate([engine.infer(images[:half], wide=wide), engine.infer(images[half:], wide=wide)])
