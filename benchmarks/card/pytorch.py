"""PyTorch's own best on the network that is served, pixels in and probabilities out, in a process of its own.

    python -m benchmarks.card.pytorch ARCHITECTURE DEVICE BATCH RUNS MODE…

prints a line of JSON for each mode as soon as it is measured, so that whoever has no time left keeps what there is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.card.plan import Plan

# Plain half precision, channels last; the same as a CUDA graph; compiled, with CUDA graphs; compiled, with a search
# for the fastest kernels as well.
MODES = ("eager", "graph", "reduce-overhead", "max-autotune")


@dataclass(frozen=True)
class Reading:
    """One way of running the network in PyTorch; `trouble` where it did not come to that."""

    mode: str
    batch: int
    images_per_s: float | None = None
    trouble: str = ""


def measure(plan: Plan, batch: int, within_s: float) -> list[Reading]:
    """Return what each mode reaches, as far as time goes."""
    modes = MODES if plan.compiled else MODES[:1]
    architecture = plan.architecture if plan.device == "cuda" else "resnet18"
    command = [sys.executable, "-m", "benchmarks.card.pytorch", architecture, plan.device]
    found: dict[str, Reading] = {}
    with subprocess.Popen(
        [*command, str(batch), str(plan.runs), *modes],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        # With the compiler's own processes, which hold on to the pipes.
        timer = threading.Timer(within_s, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        output, errors = process.communicate()
        timer.cancel()
    for line in output.splitlines():
        reading = Reading(**json.loads(line))
        found[reading.mode] = reading
    why = "no time was left" if process.returncode == -9 else (errors.strip().splitlines() or ["it ended"])[-1][:200]
    return [found.get(mode, Reading(mode, batch, trouble=why)) for mode in modes]


def main(architecture: str, device: str, batch: str, runs: str, *modes: str) -> None:
    """Measure each mode and print what it reaches."""
    import torch

    on_card = device == "cuda"
    torch.backends.cudnn.benchmark = on_card
    if not on_card:
        torch.set_num_threads(1)  # a dry run: threads that wait for each other only slow a busy machine down
    forward = _network(torch, architecture, half=on_card).to(device, memory_format=torch.channels_last)
    image = torch.randint(0, 256, (int(batch), 224, 224, 3), dtype=torch.uint8, device=device)
    for mode in modes:
        try:
            with torch.inference_mode():
                rate = int(batch) / _seconds(_made(torch, forward, image, mode), image, int(runs), torch, on_card)
            print(json.dumps({"mode": mode, "batch": int(batch), "images_per_s": rate}), flush=True)
        except Exception as error:  # whatever it is, other modes may do
            trouble = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            print(json.dumps({"mode": mode, "batch": int(batch), "trouble": trouble}), flush=True)


def _network(torch: Any, architecture: str, *, half: bool) -> Any:
    """Return what an artefact computes, pixels in and probabilities out, with fresh weights: the same work."""
    from export.to_onnx import Preprocess
    from models import zoo
    from service.contract import Preprocessing

    preprocess = Preprocess(Preprocessing(resize=256, crop=224, mean=zoo.IMAGENET_MEAN, std=zoo.IMAGENET_STD))
    network = zoo.create(architecture, seed=0)

    class Whole(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.preprocess, self.network = preprocess, network.half() if half else network

        def forward(self, image: Any) -> Any:
            pixels = self.preprocess(image)
            return torch.softmax(self.network(pixels.half() if half else pixels).float(), dim=1)

    return Whole().eval()


def _made(torch: Any, forward: Any, image: Any, mode: str) -> Callable[[Any], object]:
    """Return a function that runs the network in one of `MODES`."""
    if mode == "eager":
        eager: Callable[[Any], object] = forward
        return eager
    if mode != "graph":
        compiled: Callable[[Any], object] = torch.compile(forward, mode=mode, dynamic=False)
        return compiled
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # as PyTorch's own documentation warms up before a capture
        for _ in range(3):
            forward(image)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward(image)
    return lambda _: graph.replay()


def _seconds(run: Callable[[Any], object], image: Any, runs: int, torch: Any, on_card: bool) -> float:
    wait: Callable[[], None] = torch.cuda.synchronize if on_card else lambda: None
    for _ in range(5 if on_card else 1):  # compiles, searches, captures
        run(image)
    wait()
    began_s = time.perf_counter()
    for _ in range(runs):
        run(image)
    wait()
    return (time.perf_counter() - began_s) / runs


if __name__ == "__main__":
    main(*sys.argv[1:])
