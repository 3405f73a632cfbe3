"""Which files are for the card, and pixels of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from service.errors import ServiceError
from service.jpeg import is_ordinary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.image import Decoder


class Sorter:
    """Leaves files for the card as they are and decodes the others.

    Args:
        decoder: Decodes on the CPU.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        side = decoder.preprocessing.crop
        self._shape, self._pixels_bytes = (side, side, 3), side * side * 3

    def sort(self, body: bytes, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the file itself, uint8 (n,), if it is for the card, else its pixels, uint8 (crop, crop, 3).

        Args:
            body: The file.
            out: Memory for either, uint8 (m,); or None for anywhere. A file that does not fit is the CPU's.

        Raises:
            ServiceError: it does not decode; see `Decoder.decode`.
        """
        if not self._is_for_card(body, out):
            return self.decode(body, out)
        file = np.frombuffer(body, np.uint8)
        if out is None:
            return file
        out[: len(file)] = file
        return out[: len(file)]

    def decode(self, body: bytes, out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return the pixels by the CPU, in any case; see `sort`."""
        return self._decoder.decode(body, None if out is None else out[: self._pixels_bytes].reshape(self._shape))

    def _is_for_card(self, body: bytes, out: NDArray[np.uint8] | None) -> bool:
        if out is not None and len(body) > len(out):
            return False
        try:
            return is_ordinary(body, self._decoder.limits.max_pixels)
        except ServiceError:  # the CPU's decoder has the last word on that
            return False
