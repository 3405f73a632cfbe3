"""service.engine.cuda and lane: what runs on a card, here in the host's memory on ONNX Runtime's CPU provider."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service import shortage
from service.engine import CPU
from service.engine.cpu import CpuEngine
from service.engine.cuda import CudaEngine
from service.engine.device import DeviceError, HostDevice
from service.engine.interface import contract_of
from service.engine.lane import Lane
from service.engine.sessions import cpu_session
from tests.service.artefacts import write_brightness, write_mean


def greys(levels: list[int]) -> list[np.ndarray]:
    return [np.full((32, 32, 3), level, np.uint8) for level in levels]


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return write_brightness(tmp_path)


def on_host(artefact: Path, device: HostDevice | None = None) -> CudaEngine:
    contract = contract_of(cpu_session(artefact))
    return CudaEngine(device or HostDevice(), contract, lambda _: cpu_session(artefact))


class Card(HostDevice):
    """A device that notes who does what, and has only so much memory."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room
        self.threads: set[str] = set()
        self.log: list[tuple[str, int]] = []
        self._streams = 0
        self._lock = threading.Lock()

    def stream(self) -> int:
        with self._lock:
            self._streams += 1
            return self._streams

    def allocate(self, size: int) -> Any:
        if size > self.room:
            raise DeviceError("cudaMalloc: cudaErrorMemoryAllocation")
        self.room -= size
        buffer = super().allocate(size)
        weakref.finalize(buffer, self._freed, size)
        return buffer

    def _freed(self, size: int) -> None:
        self.room += size

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        self.threads.add(f"{threading.get_ident()} {stream}")
        self.log.append(("copy", size))
        super().copy(target, source, size, stream)

    def wait(self, stream: int) -> None:
        self.log.append(("wait", stream))


def test_answers_as_the_engine_on_the_cpu_does(tmp_path: Path) -> None:
    artefact = write_mean(tmp_path, crop=48, classes=10)
    images = list(np.random.default_rng(0).integers(0, 256, (7, 48, 48, 3), np.uint8))
    np.testing.assert_allclose(on_host(artefact).infer(images), CpuEngine(artefact).infer(images), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_a_batch_runs_in_the_smallest_bucket_that_holds_it_and_gets_its_own_rows(artefact: Path, count: int) -> None:
    engine = on_host(artefact)
    engine.warm_up(8)
    engine.infer(greys([200] * 8))  # what is left in the buffers is nobody's
    rows = engine.infer(greys(list(range(count))))
    assert rows.argmax(1).tolist() == list(range(count))


def test_rows_are_the_callers_to_keep(artefact: Path) -> None:
    engine = on_host(artefact)
    kept = [engine.infer(greys([level])) for level in (3, 5, 7)]  # either lane's buffers have been used again by now
    assert [int(rows.argmax()) for rows in kept] == [3, 5, 7]


def test_every_bucket_is_warmed_in_every_lane_before_the_first_caller(artefact: Path) -> None:
    card = Card()
    engine = on_host(artefact, card)
    assert list(engine.warm_up(6)) == [1, 2, 4, 6]
    room = card.room
    for count in range(1, 7):
        for _ in range(2):
            engine.infer(greys([1] * count))
    assert card.room == room, "a batch allocated after warm-up"


def test_only_the_images_that_there_are_travel_and_a_run_waits_once(artefact: Path) -> None:
    card = Card()
    engine = on_host(artefact, card)
    engine.warm_up(4)
    card.log.clear()
    engine.infer(greys([1, 2, 3]))
    (copied_in, copied_out, (waited, _)) = card.log
    assert copied_in == ("copy", 3 * 32 * 32 * 3)
    assert copied_out == ("copy", 4 * 256 * 4)
    assert waited == "wait"


def test_lanes_run_at_the_same_time_each_on_its_own_thread_and_stream(artefact: Path) -> None:
    both = threading.Barrier(2, timeout=10)

    class Meeting(Card):
        met = False

        def wait(self, stream: int) -> None:
            if self.met:
                both.wait()  # returns only if the other lane is in its run too

    card = Meeting()
    engine = on_host(artefact, card)
    card.met = True
    answers: list[int] = []

    def ask(level: int) -> None:
        answers.append(int(engine.infer(greys([level])).argmax()))

    callers = [threading.Thread(target=ask, args=[level]) for level in (10, 20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert sorted(answers) == [10, 20]
    assert len(card.threads) == 2
    assert len({entry.split()[1] for entry in card.threads}) == 2


def test_batches_are_as_large_as_memory_allows(artefact: Path, caplog: pytest.LogCaptureFixture) -> None:
    each = 32 * 32 * 3 + 256 * 4
    card = Card(room=2 * (1 + 2 + 4) * each + 7 * each)  # both lanes' buckets up to 4; one lane's of 8 does not fit
    engine = on_host(artefact, card)
    assert list(engine.warm_up(16)) == [1, 2, 4]
    assert "4 images at most: 8 do not fit" in caplog.text
    gc.collect()
    assert card.room == 7 * each, "what did not fit was not given back"


def test_without_memory_for_one_image_there_is_no_engine(artefact: Path) -> None:
    with pytest.raises(DeviceError, match="MemoryAllocation"):
        on_host(artefact, Card(room=100)).warm_up(4)


def test_a_batch_that_finds_no_memory_is_run_in_two_halves(artefact: Path) -> None:
    class Short(CudaEngine):
        def infer(self, images: Any, *, wide: bool = False) -> Any:
            if len(images) > 2:
                raise DeviceError("cudaStreamSynchronize: cudaErrorMemoryAllocation")
            return super().infer(images, wide=wide)

    engine = Short(HostDevice(), contract_of(cpu_session(artefact)), lambda _: cpu_session(artefact))
    assert shortage.infer(engine, greys([1, 2, 3, 4]), wide=False).argmax(1).tolist() == [1, 2, 3, 4]


def test_what_goes_wrong_in_a_lane_reaches_its_caller_and_the_lane_goes_on(artefact: Path) -> None:
    engine = on_host(artefact)
    for _ in range(3):
        with pytest.raises(ValueError, match="broadcast"):
            engine.infer([np.zeros((5, 5, 3), np.uint8)])
    assert engine.infer(greys([9])).argmax() == 9


class Recorder:
    """A session whose runs cost what a test says, told by whether a graph is asked for."""

    def __init__(self, inner: ort.InferenceSession, plain: Callable[[], None], replayed: Callable[[], None]) -> None:
        self._inner, self._cost = inner, {True: plain, False: replayed}
        self.asked: list[tuple[int, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def io_binding(self) -> Any:
        return self._inner.io_binding()

    def run_with_iobinding(self, binding: Any, options: ort.RunOptions) -> None:
        graph = options.get_run_config_entry("gpu_graph_id")
        self.asked.append((threading.get_ident(), graph))
        self._cost[graph == "-1"]()
        self._inner.run_with_iobinding(binding, options)


@pytest.mark.parametrize(("faster", "captured"), [("plain", []), ("replayed", [1, 2])])
def test_graphs_are_kept_for_the_buckets_that_they_make_faster(
    artefact: Path, faster: str, captured: list[int]
) -> None:
    def slow() -> None:
        threading.Event().wait(0.01)

    def fast() -> None:
        pass

    costs = (fast, slow) if faster == "plain" else (slow, fast)
    lane = Lane(
        HostDevice(),
        contract_of(cpu_session(artefact)),
        lambda _: Recorder(cpu_session(artefact), *costs),  # type: ignore[arg-type,return-value]
        graphs=None,
    )
    for size in (1, 2):
        lane.prepare(size)
    assert lane.captured == captured
    recorder: Any = lane.session
    assert len({thread for thread, _ in recorder.asked}) == 1, "ONNX Runtime keeps graphs by thread"
    assert [graph for _, graph in recorder.asked].count("2") >= 4, "a graph is captured only after regular runs"
    assert lane.infer(greys([40, 50])).argmax(1).tolist() == [40, 50]
    assert recorder.asked[-1][1] == ("2" if captured else "-1")


@pytest.mark.parametrize("insisted", [False, True])
def test_where_a_graph_cannot_be_captured_there_is_none_unless_it_is_insisted_on(
    artefact: Path, insisted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported")

    lane = Lane(
        HostDevice(),
        contract_of(cpu_session(artefact)),
        lambda _: Recorder(cpu_session(artefact), lambda: None, fails),  # type: ignore[arg-type,return-value]
        graphs=insisted or None,
    )
    if insisted:
        with pytest.raises(RuntimeError, match="CaptureUnsupported"):
            lane.prepare(2)
        return
    lane.prepare(2)
    lane.prepare(4)
    assert lane.captured == []
    assert caplog.text.count("no CUDA graphs") == 1, "what failed once is not tried again"
    assert lane.infer(greys([40, 50])).argmax(1).tolist() == [40, 50]


def test_graphs_are_not_asked_for_where_the_session_has_none(artefact: Path) -> None:
    lane = Lane(HostDevice(), contract_of(cpu_session(artefact)), lambda _: cpu_session(artefact))
    lane.prepare(2)
    assert lane.captured == []


def test_the_bound_is_measured_without_copies(artefact: Path) -> None:
    card = Card()
    engine = on_host(artefact, card)
    engine.warm_up(2)
    card.log.clear()
    assert 0 < engine.on_device(2, runs=3) < 1
    assert [what for what, _ in card.log] == ["wait"]


def test_an_engine_that_is_let_go_ends_its_threads_and_gives_its_memory_back(artefact: Path) -> None:
    card = Card()
    room = card.room
    others = set(threading.enumerate())
    engine = on_host(artefact, card)
    engine.warm_up(4)
    assert engine.provider == CPU
    lanes = set(threading.enumerate()) - others
    assert {thread.name for thread in lanes} == {"lane"}
    del engine
    gc.collect()
    for thread in lanes:
        thread.join(10)
    assert not any(thread.is_alive() for thread in lanes)
    assert card.room == room
