"""Page faults and CPU time of decoding, in a process that does nothing else: `runtime.py` starts it for each figure.

    python -m benchmarks.freed [--keep] [--thread] --count 300 IMAGE...

How the C library keeps memory depends on all that a process has freed before, and differs between the main thread
and others: so little is imported here, and decoding is on either.
"""

from __future__ import annotations

import argparse
import json
import resource
import threading
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from service.contract import Preprocessing
from service.image import Decoder
from service.memory import keep_freed_memory


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep freed memory, as the service does")
    parser.add_argument("--thread", action="store_true", help="decode on a thread, as the service does")
    parser.add_argument("--count", type=int, default=300, help="images that count (default: %(default)s)")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="files, decoded in turn")
    parsed = parser.parse_args(arguments)
    bodies = [path.read_bytes() for path in parsed.images]
    if parsed.keep:
        keep_freed_memory()
    if parsed.thread:
        thread = threading.Thread(target=measure, args=[bodies, parsed.count])
        thread.start()
        thread.join()
    else:
        measure(bodies, parsed.count)


def measure(bodies: Sequence[bytes], count: int) -> None:
    """Decode `count` images twice; print CPU-µs and page faults an image of the second time."""
    decode = Decoder(Preprocessing(resize=256, crop=224, mean=(0, 0, 0), std=(1, 1, 1))).decode
    for _ in range(2):
        began_faults, began_cpu_s = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
        for body in islice(cycle(bodies), count):
            decode(body)
        cpu_s = time.process_time() - began_cpu_s
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - began_faults
    print(json.dumps({"cpu_us": cpu_s * 1e6 / count, "faults": faults / count}))


if __name__ == "__main__":
    main()
