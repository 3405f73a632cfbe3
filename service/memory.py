"""How memory is kept: what images are decoded in for the next one, and what is there for good out of the way.

glibc maps and unmaps each block of more than 128 KiB, and every page of it then faults anew. It learns not to, by and
by; this tells it at the start. `python -m benchmarks.freed` counts the faults: a photo costs 14 on a thread without
this and 45 on the main thread, and none with it. mallopt(3) has the parameters; other C libraries have none, and keep
their ways.
"""

from __future__ import annotations

import ctypes
import gc

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Largest glibc takes: half a heap of its own on 64-bit systems.
_MAPPED_FROM_BYTES = 32 * 1024 * 1024
_GIVEN_BACK_FROM_BYTES = 256 * 1024 * 1024
# Objects more than before, at which Python looks for cycles; 700 by default, which is twenty requests.
_LOOKED_AT_AFTER = 10_000


def keep_freed_memory() -> bool:
    """Keep freed blocks for reuse; return whether the C library knows how."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES), (_M_TRIM_THRESHOLD, _GIVEN_BACK_FROM_BYTES))
    return all(mallopt(parameter, value) == 1 for parameter, value in wanted)


def set_aside_what_stays() -> None:
    """Have Python's collector leave alone all that there is now, and look less often at what comes.

    To be called once all is imported and assembled, before models are loaded: they come and go. Looking through the
    modules again and again took a tenth of the event loop's time under load (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_LOOKED_AT_AFTER)
