"""ONNX Runtime's sessions on the CPU, without the service: what they reach, what loading takes, what they hold."""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.processes import memory_bytes
from benchmarks.readings import Reading
from service.contract import INPUT_NAME
from service.memory import keep_freed_memory
from service.threads import available_cores, bound_to

# A memory pattern is made in the first run of a batch size, and used from its second on.
MIX = (1, 3, 5, 8) * 2
_OPTIMISE, _AS_IT_IS = ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL


class Layout(NamedTuple):
    """So many runs at once, on one session of so many threads."""

    runs: int
    threads: int
    spin: bool = False
    pattern: bool = False


class Lone(NamedTuple):
    """How a lone image is run on all cores: whether threads spin between operators, and keep to a core each."""

    spin: bool
    bound: bool


class Start(NamedTuple):
    """So many sessions: the first of one thread, the second of all cores; `saved` means an optimised model's."""

    sessions: int
    at_once: bool = False
    pattern: bool = False
    saved: bool = False


def load(
    path: Path,
    threads: int = 1,
    spin: bool = False,
    pattern: bool = False,
    *,
    bound: bool = False,
    saved: bool = False,
    save_as: Path | None = None,
) -> ort.InferenceSession:
    """Return a session; one that spins stops at the end of a run, as the service's does.

    Args:
        path: The model.
        threads: Of its own for each run, the caller's included.
        spin: Whether they spin while they wait for one another.
        pattern: Whether the memory of each batch size is planned, from its first run.
        bound: Whether its own threads keep to a core each, the first being the caller's.
        saved: Whether it is an optimised model, which is left as it is.
        save_as: Where to save the optimised model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if bound and threads > 1:
        affinities = ";".join(str(core + 1) for core in sorted(os.sched_getaffinity(0))[1:])
        options.add_session_config_entry("session.intra_op_thread_affinities", affinities)
    options.enable_mem_pattern = pattern
    options.graph_optimization_level = _AS_IT_IS if saved else _OPTIMISE
    options.log_severity_level = 3
    if save_as:
        options.optimized_model_filepath = str(save_as)
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def begin(path: Path, start: Start) -> list[ort.InferenceSession]:
    """Load a model as `start` says."""
    load_one = partial(load, path, pattern=start.pattern, saved=start.saved)
    with ThreadPoolExecutor(2 if start.at_once else 1) as pool:
        return list(pool.map(load_one, (1, available_cores())[: start.sessions]))


def run(session: ort.InferenceSession, batch: int) -> None:
    """Run so many grey images once; the first run of a batch size allocates."""
    session.run(None, _images(session, batch))


def throughput(session: ort.InferenceSession, runs: int, batch: int, seconds: float) -> Reading:
    """Return what so many loops of runs reach at once; a loop's rate is its own images over its own time."""
    images = _images(session, batch)
    began_cpu_s, ends_s = time.process_time(), time.monotonic() + seconds

    def loop(_: int) -> list[float]:
        times: list[float] = []
        while not times or time.monotonic() < ends_s:
            began_s = time.monotonic()
            session.run(None, images)
            times.append(time.monotonic() - began_s)
        return times

    with ThreadPoolExecutor(runs) as pool:
        loops = list(pool.map(loop, range(runs)))
    every = [time_s for times in loops for time_s in times]
    cpu_ms = (time.process_time() - began_cpu_s) * 1e3 / (batch * len(every))
    rate = sum(batch * len(times) / sum(times) for times in loops)
    return Reading(rate, cpu_ms, p50_ms=statistics.median(every) * 1e3)


def after_pauses(session: ort.InferenceSession, bound: bool, pause_s: float, count: int) -> Reading:
    """Return what `count` runs of one image take, each after a pause in which every thread went to sleep."""
    images, first = _images(session, 1), min(os.sched_getaffinity(0))
    times: list[float] = []
    began_cpu_s = time.process_time()
    for _ in range(count):
        time.sleep(pause_s)
        began_s = time.monotonic()
        with bound_to(first) if bound else nullcontext():
            session.run(None, images)
        times.append(time.monotonic() - began_s)
    cpu_ms = (time.process_time() - began_cpu_s) * 1e3 / count
    return Reading(count / sum(times), cpu_ms, p50_ms=statistics.median(times) * 1e3)


def loading(path: Path, start: Start) -> Reading:
    """Return what loading takes: `p50_ms` by the clock, and the CPU time of all of it."""
    began_cpu_s, began_s = time.process_time(), time.monotonic()
    sessions = begin(path, start)
    cpu_s, clock_s = time.process_time() - began_cpu_s, time.monotonic() - began_s
    return Reading(len(sessions) / clock_s, cpu_s * 1e3, p50_ms=clock_s * 1e3)


def held(path: Path, start: Start) -> tuple[int, int]:
    """Return how many bytes more this process holds when sessions are loaded, and after a mix of batches on each."""
    keep_freed_memory()  # as the service does
    before = memory_bytes(os.getpid())
    sessions = begin(path, start)
    loaded = memory_bytes(os.getpid())
    for batch in MIX:
        for session in sessions:
            run(session, batch)
    return loaded - before, memory_bytes(os.getpid()) - before


def _images(session: ort.InferenceSession, batch: int) -> dict[str, NDArray[np.uint8]]:
    return {INPUT_NAME: np.full((batch, *session.get_inputs()[0].shape[1:]), 127, np.uint8)}  # (N, H, W, 3)
