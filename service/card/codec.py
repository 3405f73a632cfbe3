"""Files -> pictures on a card, by nvImageCodec: NVIDIA's JPEG engine where the card has one, else its kernels."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from service.card.resize import CardPicture
from service.engine.interface import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.engine.device import Device

logger = logging.getLogger(__name__)

# As libjpeg-turbo interpolates between the samples of colour, which most files have one for four pixels of.
_OPTIONS = ":fancy_upsampling=1"


class Codec:
    """Decodes batches of JPEGs.

    Args:
        device: Where the pictures go; memory of the host for one that is no card.
        stream: After whose work they are written.
        threads: Of the CPU, for what the card leaves to it (Huffman codes, on cards without a JPEG engine).

    Raises:
        EngineError: nvImageCodec is not installed, or does not work here.
    """

    def __init__(self, device: Device, stream: int, threads: int = 1) -> None:
        try:
            from nvidia import nvimgcodec
        except ImportError as error:
            raise EngineError(
                f"--decoder gpu needs nvImageCodec, which is not here ({error}): install resnet-serve[gpu]"
            ) from error
        self._codec = nvimgcodec
        self._on_card = device.kind == "cuda"
        self._stream = stream
        place = device.index if self._on_card else nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY
        backends = None if self._on_card else [nvimgcodec.Backend(nvimgcodec.BackendKind.CPU_ONLY)]
        try:
            self._decoder = nvimgcodec.Decoder(
                device_id=place, max_num_cpu_threads=threads, backends=backends, options=_OPTIONS
            )
        except RuntimeError as error:
            raise EngineError(f"nvImageCodec does not work here: {error}") from error
        # What is turned or not in RGB never comes here.
        self._params = nvimgcodec.DecodeParams(apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB)

    def decode(self, files: Sequence[NDArray[np.uint8]]) -> list[CardPicture | None]:
        """Return the picture of each file, or None where it could not be decoded."""
        streams = [self._code_stream(file) for file in files]
        readable = [stream for stream in streams if stream is not None]
        found = self._decoder.decode(readable, params=self._params, cuda_stream=self._stream) if readable else []
        pictures = map(self._picture, found)
        return [None if stream is None else next(pictures) for stream in streams]

    def _code_stream(self, file: NDArray[np.uint8]) -> Any:
        try:
            return self._codec.CodeStream(file)
        except RuntimeError:  # it does not even look like an image
            return None

    def _picture(self, image: Any) -> CardPicture | None:
        if image is None or len(image.shape) != 3 or image.shape[2] != 3:
            return None
        described = image.__cuda_array_interface__ if self._on_card else image.__array_interface__
        height, width, channels = described["shape"]
        line = described["strides"][0] if described["strides"] else width * channels
        return CardPicture(width, height, described["data"][0], line, image)
