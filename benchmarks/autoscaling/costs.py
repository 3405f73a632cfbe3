"""What an image costs a core, as measured: docs/performance.md, two cores of an AMD EPYC."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Of one model on one machine.

    Attributes:
        name: What was measured.
        run_ms: CPU milliseconds an image, by batch size: a run a core on one 1-thread session.
        other_ms: CPU milliseconds an image for decoding, and for HTTP and the rest.
        cores: Of a replica; it does as many runs at a time.
    """

    name: str
    run_ms: dict[int, float]
    other_ms: float
    cores: int = 2

    def seconds(self) -> dict[int, float]:
        """Return how long a batch keeps a core, by its size: decoding shares the cores with runs."""
        return {size: size * (ms + self.other_ms) / 1e3 for size, ms in self.run_ms.items()}

    @property
    def images_per_s(self) -> float:
        """What a replica can answer."""
        return self.cores / min(seconds / size for size, seconds in self.seconds().items())


_DECODE_MS, _HTTP_MS = 1.89, 0.28
RESNET18_INT8 = Cost("ResNet-18 int8", {1: 11.47, 4: 10.97, 8: 10.80}, _DECODE_MS + _HTTP_MS)
RESNET50 = Cost("ResNet-50 float32", {1: 78.94, 4: 77.99, 8: 78.35}, _DECODE_MS + _HTTP_MS)
COSTS = {"resnet18-int8": RESNET18_INT8, "resnet50": RESNET50}
