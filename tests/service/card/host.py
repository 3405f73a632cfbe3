"""A card's kernels on the CPU: `resize.cu` compiled as C, a thread of the card after the other."""

from __future__ import annotations

import ctypes
import os
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from service.card.resize import SOURCE

_SHIM = """
typedef struct { int x, y; } dim;
static _Thread_local dim blockIdx, blockDim, threadIdx; // a service's decoders work at the same time
#define __device__
#define __global__
#include SOURCE
void run(int which, const job *jobs, int blocks_x, int blocks_y, int threads) {
    void (*kernels[])(const job *) = {weigh, along_x, along_y};
    blockDim.x = threads;
    for (blockIdx.y = 0; blockIdx.y < blocks_y; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < blocks_x; blockIdx.x++)
            for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) kernels[which](jobs);
}
"""


def with_bad_tables(jpeg: bytes) -> bytes:
    """Return a JPEG whose Huffman tables cannot be: nobody decodes that, but its headers look well."""
    at = jpeg.index(b"\xff\xc4") + 5
    return jpeg[:at] + b"\xff" * 16 + jpeg[at + 16 :]


class HostKernels:
    """See `service.card.resize.Kernels`."""

    def __init__(self, _: object = None) -> None:
        self._library = _compiled()

    def launch(self, name: str, blocks: tuple[int, int], threads: int, jobs: int, stream: int) -> None:
        which = ("weigh", "along_x", "along_y").index(name)
        self._library.run(which, ctypes.c_void_p(jobs), *blocks, threads)


@cache
def _compiled() -> ctypes.CDLL:
    with TemporaryDirectory() as folder:
        shim, library = Path(folder, "shim.c"), Path(folder, "resize.so")
        shim.write_text(_SHIM)
        flags = ["-std=gnu11", "-O2", "-ffp-contract=off", "-fPIC", "-shared", f'-DSOURCE="{SOURCE}"']
        subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", str(library), str(shim)], check=True)
        return ctypes.CDLL(str(library))
