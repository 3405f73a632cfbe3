"""How much is measured, and for how long."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        device: "cuda", or "cpu" to see that everything works.
        architecture: Of the network, where there are no trained weights of it.
        batches: Batch sizes of the engine alone.
        runs: Runs of each, timed together.
        compiled: Whether PyTorch compiles.
        decoders: What decodes JPEGs.
        frontends: Of the service; what is likeliest the best first, since time may run out.
        concurrencies: Clients at once, each with one request in flight.
        warm_s: Load before each measurement.
        cell_s: Length of each.
        generators: Processes that make the load.
        budget_s: After which nothing new is begun.
    """

    device: str = "cuda"
    architecture: str = "resnet50"
    batches: tuple[int, ...] = (1, 8, 32, 64, 128, 256)
    runs: int = 50
    compiled: bool = True
    decoders: tuple[str, ...] = ("cpu", "gpu")
    frontends: tuple[int, ...] = (8, 16, 4, 1)
    concurrencies: tuple[int, ...] = (32, 128, 512)
    warm_s: float = 1.0
    cell_s: float = 3.0
    generators: int = 4
    budget_s: float = 450.0


FULL = Plan()
DRY = Plan(
    device="cpu",
    architecture="averages",
    batches=(1, 4),
    runs=3,
    compiled=False,
    decoders=("cpu",),
    frontends=(1,),
    concurrencies=(4,),
    warm_s=0.2,
    cell_s=0.5,
    generators=2,
    budget_s=300.0,
)


class Budget:
    """Time that is left; what does not fit any more is left out, and said.

    Attributes:
        left_out: What did not fit.
    """

    def __init__(self, seconds: float, left_out: list[str] | None = None) -> None:
        self._ends_s = time.monotonic() + seconds
        self.left_out = [] if left_out is None else left_out

    def part(self, share: float) -> Budget:
        """Return a budget of a share of what is left, which leaves the rest to what comes after."""
        return Budget(share * self.left_s, self.left_out)

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self._ends_s - time.monotonic()

    def allows(self, what: str, seconds: float) -> bool:
        """Tell whether there is time for `what`, which takes about `seconds`; note it where there is not."""
        if self.left_s >= seconds:
            return True
        self.left_out.append(f"{what}: no time was left")
        return False
