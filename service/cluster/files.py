"""Places whose slots take files as well as pixels, for engines that decode (`service.card`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.backend import Loan
from service.cluster.client import Place
from service.native import address

if TYPE_CHECKING:
    from service.backend import Images

# Of 250 photos of ImageNet 24 in 25 are shorter; the CPU decodes what is longer. Slots are as many as may wait.
FILE_BYTES = 256 * 1024


class FilePlace(Place):
    """A place in line with slots for files or pixels; see `service.backend.Place`."""

    __slots__ = ()

    def lend(self, index: int) -> Loan:
        """Return all of the slot for image `index`, uint8 (n,)."""
        slot = self._slots[index]
        return Loan(self._client.slots.files[slot], self._client.slots.lend(slot))

    def _hand_over(self, images: Images) -> list[int]:
        """Return the slots that `images` are in, in their order, and note in each what it holds."""
        slots = self._client.slots
        own = {address(slots.files[slot]): slot for slot in self._slots}
        used = [own.pop(address(image), -1) for image in images]
        for at, image in enumerate(images):
            if used[at] < 0:
                used[at] = own.popitem()[1]
                slots.files[used[at]][: image.size] = image.reshape(-1)
            slots.lengths[used[at]] = image.size if image.ndim == 1 else 0
        self._slots = list(own.values())  # those left over
        return used
