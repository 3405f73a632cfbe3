"""One batch of files at a time: decoded, resized and cropped on the card, each into a slot that a run reads."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from service.card.codec import Codec
from service.card.resize import Resizer
from service.engine.device import Resident

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.card.resize import Kernels
    from service.contract import Preprocessing
    from service.engine.device import Device


class Slots:
    """Room for pixels on a device, one image each.

    Args:
        device: Where.
        count: How many.
        size: Bytes of one.
    """

    def __init__(self, device: Device, count: int, size: int) -> None:
        self._memory = device.allocate(count * size)
        self._free = deque(self._memory.address + at * size for at in range(count))

    def take(self) -> Resident | None:
        """Return a slot, or None where there is none left."""
        try:
            return Resident(self._free.pop(), self._give_back)
        except IndexError:
            return None

    def _give_back(self, address: int) -> None:
        self._free.append(address)  # a method of ours: so the memory stays as long as somebody has pixels in it


class CardDecoder:
    """Decodes batches, one after the other, on whichever thread calls; it has buffers and a stream of its own.

    Args:
        device: The card.
        kernels: For it.
        preprocessing: What the network was trained with.
        slots: Where the pixels go.
    """

    def __init__(self, device: Device, kernels: Kernels, preprocessing: Preprocessing, slots: Slots) -> None:
        device.use()
        self._device = device
        self._stream = device.stream()
        self._codec = Codec(device, self._stream)
        self._resizer = Resizer(device, kernels, preprocessing, self._stream)
        self._slots = slots
        self._local = threading.local()

    def decode(self, files: Sequence[NDArray[np.uint8]]) -> list[Resident | None]:
        """Return the pixels of each file, on the card; None for what could not be decoded or found no room there."""
        if not hasattr(self._local, "used"):
            self._device.use()
            self._local.used = True
        pictures = self._codec.decode(files)
        slots = [None if picture is None else self._slots.take() for picture in pictures]
        pairs = [
            (picture, slot.address)
            for picture, slot in zip(pictures, slots, strict=True)
            if picture is not None and slot is not None
        ]
        if pairs:
            kept = self._resizer.begin(*zip(*pairs, strict=True))
            self._device.wait(self._stream)
            del kept
        return slots
