"""How the C library keeps memory: what images are decoded in is kept for the next one.

glibc maps and unmaps each block of more than 128 KiB, and every page of it then faults anew. It learns not to, by and
by; this tells it at the start. `python -m benchmarks.freed` counts the faults: a photo costs 14 on a thread without
this and 45 on the main thread, and none with it. mallopt(3) has the parameters; other C libraries have none, and keep
their ways.
"""

from __future__ import annotations

import ctypes

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Largest glibc takes: half a heap of its own on 64-bit systems.
_MAPPED_FROM_BYTES = 32 * 1024 * 1024
_GIVEN_BACK_FROM_BYTES = 256 * 1024 * 1024


def keep_freed_memory() -> bool:
    """Keep freed blocks for reuse; return whether the C library knows how."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES), (_M_TRIM_THRESHOLD, _GIVEN_BACK_FROM_BYTES))
    return all(mallopt(parameter, value) == 1 for parameter, value in wanted)
