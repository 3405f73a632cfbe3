"""Decode and inference in a bare loop, no HTTP, no queue: what no server on this machine can beat.

Which arrangement of threads is fastest depends on the machine, so several are tried. Each worker decodes a batch
and then runs it: there are as many runnable threads as cores, and no hand-over between them.
"""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from benchmarks.rates import percentile
from benchmarks.readings import Reading
from service.contract import INPUT_NAME, OUTPUT_NAME, Contract, Preprocessing
from service.image import Decoder
from service.threads import available_cores

Pixels = NDArray[np.uint8]
Decode = Callable[[bytes, Pixels], object]  # writes into uint8 (crop, crop, 3)


@dataclass(frozen=True)
class Layout:
    """An arrangement of threads.

    Attributes:
        workers: Loops at once.
        threads: Intra-op threads of each one's runs.
        batch: Images that a worker decodes, and then runs.
    """

    workers: int
    threads: int
    batch: int

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.workers} at once, batches of {self.batch} on {threads}"


def layouts(cores: int) -> list[Layout]:
    """Return the arrangements worth trying on so many cores."""
    by_core = [Layout(cores, 1, batch) for batch in (1, 4, 8)]
    others = [Layout(cores + 1, 1, 1), Layout(1, cores, 1)]
    return by_core + (others if cores > 1 else [])


class BareLoop:
    """One artefact and its images, without a server.

    Args:
        artefact: The ONNX file.
        bodies: Encoded images, taken in turn.
    """

    def __init__(self, artefact: Path, bodies: Sequence[bytes]) -> None:
        self._artefact = artefact
        self._bodies = bodies
        self._sessions: dict[tuple[int, bool], ort.InferenceSession] = {}
        contract = Contract.from_metadata(self._session(1).get_modelmeta().custom_metadata_map)
        self._crop = contract.preprocessing.crop
        self.own: Decode = Decoder(contract.preprocessing).decode
        self.pillow: Decode = PillowDecoder(contract.preprocessing)

    def fastest(self, count: int, seconds: float) -> dict[Layout, float]:
        """Try every layout for a moment; return the best ones and their images per second, the best first."""
        tried = {
            layout: self.throughput(layout, self.own, seconds).images_per_s for layout in layouts(available_cores())
        }
        return dict(sorted(tried.items(), key=lambda entry: -entry[1])[:count])

    def throughput(self, layout: Layout, decode: Decode, seconds: float) -> Reading:
        """Run a layout; a worker's rate is its own images over its own time, so none is cut short at the end."""
        session = self._session(layout.threads)
        began_cpu_s = time.process_time()
        ends_s = time.monotonic() + seconds

        def work(worker: int) -> tuple[int, float]:
            bodies = self._in_turn(worker * len(self._bodies) // layout.workers)
            images = np.empty((layout.batch, self._crop, self._crop, 3), np.uint8)  # (N, H, W, 3)
            began_s, done = time.monotonic(), 0
            while time.monotonic() < ends_s:
                for image, body in zip(images, bodies, strict=False):
                    decode(body, image)
                session.run([OUTPUT_NAME], {INPUT_NAME: images})
                done += layout.batch
            return done, done / (time.monotonic() - began_s)

        with ThreadPoolExecutor(layout.workers) as pool:
            results = list(pool.map(work, range(layout.workers)))
        cpu_s = time.process_time() - began_cpu_s
        return Reading(sum(rate for _, rate in results), cpu_s * 1e3 / sum(done for done, _ in results))

    def latency(self, bodies: Sequence[bytes], seconds: float) -> Reading:
        """Decode and run one image after the other, all cores on each run; the faster with or without spinning."""
        readings = [self._latency(bodies, spinning, seconds / 2) for spinning in (False, True)]
        return min(readings, key=lambda reading: reading.p50_ms)

    def _latency(self, bodies: Sequence[bytes], spinning: bool, seconds: float) -> Reading:
        session = self._session(available_cores(), spinning)
        image = np.empty((1, self._crop, self._crop, 3), np.uint8)
        times: list[float] = []
        began_cpu_s, ends_s = time.process_time(), time.monotonic() + seconds
        for body in itertools.cycle(bodies):
            began_s = time.monotonic()
            self.own(body, image[0])
            session.run([OUTPUT_NAME], {INPUT_NAME: image})
            times.append((time.monotonic() - began_s) * 1e3)
            if time.monotonic() > ends_s:
                break
        return Reading(
            images_per_s=1e3 * len(times) / sum(times),
            cpu_ms=(time.process_time() - began_cpu_s) * 1e3 / len(times),
            p50_ms=percentile(times, 50),
            p99_ms=percentile(times, 99),
        )

    def _in_turn(self, first: int) -> Iterator[bytes]:
        return itertools.islice(itertools.cycle(self._bodies), first, None)

    def _session(self, threads: int, spinning: bool = False) -> ort.InferenceSession:
        if (threads, spinning) not in self._sessions:
            options = ort.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
            options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
            options.log_severity_level = 3
            session = ort.InferenceSession(self._artefact, options, providers=["CPUExecutionProvider"])
            self._sessions[threads, spinning] = session
        return self._sessions[threads, spinning]


class PillowDecoder:
    """What most services do: Pillow decodes all of the image, resizes all of it, and crops; as torchvision does."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._resize, self._crop = preprocessing.resize, preprocessing.crop

    def __call__(self, body: bytes, out: Pixels) -> None:
        """Decode `body` into `out`, uint8 (crop, crop, 3)."""
        with Image.open(io.BytesIO(body)) as opened:
            image = opened.convert("RGB")
        short = min(image.size)
        width, height = (side * self._resize // short for side in image.size)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - self._crop) / 2), round((height - self._crop) / 2)
        out[...] = np.asarray(resized.crop((left, top, left + self._crop, top + self._crop)))
