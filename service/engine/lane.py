"""One run of an engine at a time on a device: a thread, a session, a stream, and for each batch size buffers.

    images ──▶ page-locked rows ──copy──▶ device ──run──▶ device ──copy──▶ page-locked rows ──▶ probabilities

All of it is put into one stream and waited for once, so that another lane's copies go on beside this one's compute. A
lane does everything on a thread of its own: ONNX Runtime keeps CUDA graphs by thread, and replays them only on the
buffers that they were captured with. So those never move: each batch size (bucket) has its own.
"""

from __future__ import annotations

import logging
import threading
import weakref
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np
import onnxruntime as ort

from service.contract import INPUT_NAME, OUTPUT_NAME
from service.engine.device import Resident
from service.engine.interface import bucket_for, duration
from service.shortage import is_shortage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from service.backend import Images
    from service.contract import Contract
    from service.engine.device import Buffer, Device

    _Call = tuple[Future[Any], Callable[[], Any]]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Regular runs of a shape before ONNX Runtime captures a graph, which is the run after them, and one to replay it.
_RUNS_TO_CAPTURE = 4
_TIMED_RUNS = 5
_NO_GRAPH = -1  # ONNX Runtime's annotation for a run that is neither captured nor replayed


@dataclass
class _Bucket:
    """What one batch size runs on."""

    pixels: NDArray[np.uint8]  # (size, crop, crop, 3), page-locked
    rows: NDArray[np.float32]  # (size, classes), page-locked
    input: Buffer
    output: Buffer
    binding: ort.IOBinding
    options: ort.RunOptions


class Lane:
    """Runs batches, one after the other.

    Args:
        device: Whose buffers it uses.
        contract: What the artefact promises.
        session: Makes its session, given a stream.
        graphs: Whether runs are replayed from CUDA graphs; for None where that is faster. Only for a session with
            `enable_cuda_graph`, else False.
    """

    def __init__(
        self,
        device: Device,
        contract: Contract,
        session: Callable[[int], ort.InferenceSession],
        *,
        graphs: bool | None = False,
    ) -> None:
        self._device = device
        self._graphs = graphs
        crop = contract.preprocessing.crop
        self._image, self._classes = (crop, crop, 3), len(contract.labels)
        self._buckets: dict[int, _Bucket] = {}
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        threading.Thread(target=_work, args=(device, self._calls), name="lane", daemon=True).start()
        weakref.finalize(self, self._calls.put, None).atexit = False  # the thread ends with its lane
        self.stream: int = self._on_thread(self._device.stream)
        self.session = self._on_thread(session, self.stream)

    def infer(self, images: Images) -> NDArray[np.float32]:
        """Return the probabilities (n, classes) of n images, in the smallest bucket that holds them."""
        return self._on_thread(self._infer, images)

    def prepare(self, size: int) -> None:
        """Make the bucket for batches of `size` and run it until nothing about it is slow any more.

        The first run searches for algorithms and allocates; with graphs, a later one is captured.
        """
        self._on_thread(self._prepare, size)

    def forget(self, size: int) -> None:
        """Give back what a bucket holds."""
        self._buckets.pop(size, None)

    def on_device(self, size: int, runs: int) -> float:
        """Return the seconds of one run of a prepared bucket, on average over `runs`, without any copy."""
        return self._on_thread(self._timed, self._buckets[size], runs)

    @property
    def captured(self) -> list[int]:
        """The buckets that are replayed from graphs."""
        return [size for size, bucket in self._buckets.items() if _graph_id(bucket.options) != str(_NO_GRAPH)]

    def _infer(self, images: Images) -> NDArray[np.float32]:
        bucket = self._bucket(len(images))
        self._fill(bucket, images)
        self._run(bucket)
        self._device.copy(bucket.rows.ctypes.data, bucket.output.address, bucket.rows.nbytes, self.stream)
        self._device.wait(self.stream)
        return bucket.rows[: len(images)].copy()

    def _fill(self, bucket: _Bucket, images: Sequence[NDArray[np.uint8] | Resident]) -> None:
        """Bring images into a bucket's input; its rows beyond are of earlier batches, and nobody's."""
        each, target, source = bucket.pixels[0].nbytes, bucket.input.address, bucket.pixels.ctypes.data
        resident = [at for at, image in enumerate(images) if isinstance(image, Resident)]
        for row, image in zip(bucket.pixels, images, strict=False):
            if not isinstance(image, Resident):
                np.copyto(row, image)
        if len(resident) < len(images):
            self._device.copy(target, source, len(images) * each, self.stream)
        for at in resident:
            image = images[at]
            assert isinstance(image, Resident)  # noqa: S101 - so they were chosen
            self._device.copy(target + at * each, image.address, each, self.stream)

    def _run(self, bucket: _Bucket) -> None:
        self.session.run_with_iobinding(bucket.binding, bucket.options)

    def _bucket(self, images: int) -> _Bucket:
        fitting = [size for size in self._buckets if size >= images]
        if not fitting:  # not warmed up, as for golden images
            fitting = [bucket_for(images)]
            self._buckets[fitting[0]] = self._made(fitting[0], _NO_GRAPH)
        return self._buckets[min(fitting)]

    def _prepare(self, size: int) -> None:
        plain = self._buckets[size] = self._made(size, _NO_GRAPH)
        self._timed(plain, _RUNS_TO_CAPTURE)
        if self._graphs is False:
            return
        try:
            replayed = self._made(size, size)
            self._timed(replayed, _RUNS_TO_CAPTURE)
        except Exception as error:
            if self._graphs or is_shortage(error):
                raise
            logger.warning("no CUDA graphs: a batch of %d could not be captured: %s", size, error)
            self._graphs = False
            return
        if self._graphs or self._timed(replayed, _TIMED_RUNS) < self._timed(plain, _TIMED_RUNS):
            self._buckets[size] = replayed

    def _timed(self, bucket: _Bucket, runs: int) -> float:
        def run(_: int) -> None:
            for _ in range(runs):
                self._run(bucket)
            self._device.wait(self.stream)

        return duration(run, len(bucket.rows)) / runs

    def _made(self, size: int, graph_id: int) -> _Bucket:
        device, shape = self._device, (size, *self._image)
        pixels, rows = device.pinned(shape, np.uint8), device.pinned((size, self._classes), np.float32)
        input_, output = device.allocate(pixels.nbytes), device.allocate(rows.nbytes)
        binding = self.session.io_binding()
        binding.bind_input(INPUT_NAME, device.kind, device.index, np.uint8, list(shape), input_.address)
        binding.bind_output(OUTPUT_NAME, device.kind, device.index, np.float32, list(rows.shape), output.address)
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(graph_id))
        # Our stream is waited for, after the copy of the rows; not the whole device before it.
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        return _Bucket(pixels, rows, input_, output, binding, options)

    def _on_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        future: Future[T] = Future()
        self._calls.put((future, lambda: function(*args, **kwargs)))
        return future.result()


def _work(device: Device, calls: SimpleQueue[_Call | None]) -> None:
    """Make the calls of a lane, to which nothing here refers for longer than a call takes."""
    used = False
    while (due := calls.get()) is not None:
        future, call = due
        try:
            if not used:
                device.use()
                used = True
            future.set_result(call())
        except BaseException as error:  # it is the caller's, whatever it is
            future.set_exception(error)
        del due, future, call


def _graph_id(options: ort.RunOptions) -> str:
    found: str = options.get_run_config_entry("gpu_graph_id")
    return found
