"""The service on a card, through HTTP, by frontends and concurrency."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.card import crowd
from benchmarks.card.bodies import Load
from benchmarks.card.plan import Budget, Plan
from benchmarks.card.watch import reader
from benchmarks.server import Server, serving
from benchmarks.subjects import Subject
from service.contract import Preprocessing
from service.image import Decoder
from service.threads import available_cores

_START_S = 20.0  # of a service with its warm-up, about, until one has been started
_LEAST_START_S = 60.0  # that one is given
_STEADY_LOAD = 0.7


@dataclass(frozen=True)
class Cell:
    """One measurement through HTTP; `trouble` where it did not come to that.

    Attributes:
        load: What was sent.
        frontends: Of the service.
        clients: At once; 0 for arrivals at a rate.
        offered_per_s: That rate.
        reading: What came of it.
        trouble: Why there is none.
    """

    load: str
    frontends: int
    clients: int
    offered_per_s: float = 0.0
    reading: crowd.Reading | None = None
    trouble: str = ""


Say = Callable[[str], None]


def measure(subject: Subject, loads: list[Load], batch: int, plan: Plan, budget: Budget, say: Say) -> Iterator[Cell]:
    """Yield a cell for each load, number of frontends and of clients, and one at a steady rate below the best of these.

    Args:
        subject: What is served.
        loads: What is sent.
        batch: Most images in one run.
        plan: How much is measured.
        budget: Time that is left.
        say: Told of what takes long.
    """
    read = reader() if plan.device == "cuda" else None
    start_s = _START_S
    for frontends, decoder in product(plan.frontends, _decoders(plan, budget)):
        if not budget.allows(f"{frontends} frontends, decoding by {decoder}", start_s):
            continue
        say(f"through HTTP, {frontends} frontends, decoding by {decoder}")
        suited = [load for load in loads if load.decoder == decoder]
        arguments = _arguments(frontends, batch, decoder, plan)
        try:
            # On a card the search for algorithms, batch size by batch size, may well take longer than on a CPU.
            within_s = max(_LEAST_START_S, budget.left_s)
            with serving(subject.artifacts, subject.model, *arguments, ready_within_s=within_s) as server:
                start_s = max(start_s, server.ready_s)
                for load in suited:
                    yield from _cells(server, load, frontends, plan, budget, read)
        except Exception as error:  # whatever it is, the rest may do
            trouble = (str(error).strip().splitlines() or [repr(error)])[-1][:200]
            yield Cell(f"decoding by {decoder}", frontends, 0, trouble=trouble)


def _decoders(plan: Plan, budget: Budget) -> list[str]:
    """Return what can decode here, and note what cannot."""
    if "gpu" in plan.decoders and not _has_codec():
        budget.left_out.append("decoding on the card: nvidia-nvimgcodec-cu13 is not installed")
    elif "gpu" not in plan.decoders:
        budget.left_out.append("decoding on the card: there is no card")
    return [decoder for decoder in plan.decoders if decoder == "cpu" or _has_codec()]


def _has_codec() -> bool:
    try:
        return importlib.util.find_spec("nvidia.nvimgcodec") is not None
    except ModuleNotFoundError:  # nothing of NVIDIA's is
        return False


def bare_decoding(files: tuple[Path, ...], preprocessing: Preprocessing, seconds: float) -> float:
    """Return how many photos a second all cores decode, with nothing else to do."""
    cores = available_cores()
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(_decode, [files[:1]] * cores, [preprocessing] * cores, [0.0] * cores))  # starts them all
        return sum(pool.map(_decode, [files] * cores, [preprocessing] * cores, [seconds] * cores))


def _decode(files: tuple[Path, ...], preprocessing: Preprocessing, seconds: float) -> float:
    decoder, bodies = Decoder(preprocessing), [path.read_bytes() for path in files]
    out = np.empty((preprocessing.crop, preprocessing.crop, 3), np.uint8)
    began_s, done = time.monotonic(), 0
    while done == 0 or time.monotonic() - began_s < seconds:
        decoder.decode(bodies[done % len(bodies)], out)
        done += 1
    return done / (time.monotonic() - began_s)


def _arguments(frontends: int, batch: int, decoder: str, plan: Plan) -> list[str]:
    provider = "cuda" if plan.device == "cuda" else "cpu"
    capacity = max(512, 4 * batch, 2 * max(plan.concurrencies))
    return [
        *("--provider", provider, "--frontends", str(frontends), "--max-batch-size", str(batch)),
        *("--queue-capacity", str(capacity), "--max-images-per-request", "1", "--decoder", decoder),
    ]


def _cells(server: Server, load: Load, frontends: int, plan: Plan, budget: Budget, read: crowd.Read) -> Iterator[Cell]:
    window_s, best = (plan.warm_s, plan.cell_s), 0.0
    for clients in plan.concurrencies:
        if budget.allows(f"{load.name}, {frontends} frontends, {clients} clients", 2 * sum(window_s)):
            reading = crowd.closed(server, load, clients, window_s, plan.generators, read)
            best = max(best, reading.images_per_s)
            yield Cell(load.name, frontends, clients, reading=reading)
    if best and budget.allows(f"{load.name}, {frontends} frontends, at a steady rate", 2 * sum(window_s)):
        per_s = _STEADY_LOAD * best
        reading = crowd.arriving(server, load, per_s, window_s, plan.generators, read)
        yield Cell(load.name, frontends, 0, per_s, reading)
