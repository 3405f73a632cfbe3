"""Puts a card's decoders in front of a batcher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from service.card.decoder import CardDecoder, Slots
from service.card.line import DecodingBackend
from service.card.resize import CudaKernels
from service.engine.cuda import LANES, CudaEngine
from service.engine.device import CudaDevice
from service.engine.interface import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from service.backend import Backend
    from service.card.resize import Kernels
    from service.engine.interface import Engine
    from service.settings import Settings

_SAMPLE = Path(__file__).parent.parent / "web" / "sample.jpg"
_DECODERS = 2  # one's files are parsed while the other's are decoded


def decoding(
    batcher: Backend, engine: Engine, settings: Settings, kernels: Callable[[Any], Kernels] = CudaKernels
) -> DecodingBackend:
    """Return a backend that has files decoded on the engine's card.

    Args:
        batcher: In front of the engine.
        engine: On a card.
        settings: Of the service.
        kernels: Makes the kernels for its device.

    Raises:
        EngineError: the engine is on no card, or what decodes on it is not here or does not work.
    """
    if not isinstance(engine, CudaEngine) or (kernels is CudaKernels and not isinstance(engine.device, CudaDevice)):
        raise EngineError(f"--decoder gpu needs a card, but the engine runs on {engine.provider}")
    preprocessing, size = engine.contract.preprocessing, settings.max_batch_size
    room = settings.queue_capacity + (LANES + _DECODERS) * size  # for all that wait, run, or are being decoded
    slots = Slots(engine.device, room, preprocessing.crop**2 * 3)
    made = kernels(engine.device)
    decoders = [CardDecoder(engine.device, made, preprocessing, slots) for _ in range(_DECODERS)]
    sample = np.frombuffer(_SAMPLE.read_bytes(), np.uint8)
    for decoder in decoders:  # nor is the first caller's image the first
        if decoder.decode([sample]) == [None]:
            raise EngineError("--decoder gpu does not work here: the card cannot decode the sample picture")
    return DecodingBackend(batcher, decoders, size)
