"""What decoding costs: CPU milliseconds an image, against Pillow as torchvision uses it.

    python benchmarks/decode.py --images ../shared/images

Contenders take turns over the same images, round after round, and the median round counts, so that whatever else
the machine does harms all alike. Prints a Markdown table; the ratios are what to compare between machines.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script

from service.contract import Preprocessing
from service.image import Decoder

RESIZE, CROP = 256, 224
Decode = Callable[[bytes], object]


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    bodies = [path.read_bytes() for path in sorted(arguments.images.iterdir()) if is_jpeg(path)]
    if not bodies:
        sys.exit(f"no JPEG in {arguments.images}")
    smallest = min(bodies, key=len)
    sets = {
        f"{len(bodies)} photos": bodies,
        f"{len(smallest):,} bytes": [smallest] * 200,
        "12 megapixels": [large_jpeg(bodies[0])] * 2,
    }
    print(f"CPU ms an image: median of {arguments.rounds} rounds; in brackets, images/s by the clock\n")
    print("| images | threads | " + " | ".join(CONTENDERS) + " | service / Pillow |")
    print("|---|--:|" + "--:|" * (len(CONTENDERS) + 1))
    for name, images in sets.items():
        for threads in arguments.threads:
            print_row(name, threads, measure(images, threads, arguments.rounds))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(__file__).parents[2] / "shared" / "images"
    parser.add_argument("--images", type=Path, default=shared, help="folder of JPEGs (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="thread counts (default: 1 2)")
    return parser.parse_args()


def is_jpeg(path: Path) -> bool:
    """Tell a JPEG by its name."""
    return path.suffix.lower() in (".jpg", ".jpeg")


def large_jpeg(body: bytes) -> bytes:
    """Return a photo enlarged to what a phone's camera makes."""
    file = io.BytesIO()
    photo = Image.open(io.BytesIO(body)).convert("RGB")
    photo.resize((4032, 3024), Image.Resampling.LANCZOS).save(file, "JPEG", quality=90)
    return file.getvalue()


def with_pillow(body: bytes) -> object:
    """Decode as torchvision's PIL path does."""
    image = Image.open(io.BytesIO(body)).convert("RGB")
    return np.asarray(crop_centre(image.resize(resized(*image.size), Image.Resampling.BILINEAR)))


def with_both(body: bytes) -> object:
    """Decode with libjpeg-turbo itself, but resize with Pillow."""
    image = Image.fromarray(simplejpeg.decode_jpeg(body))
    return np.asarray(crop_centre(image.resize(resized(*image.size), Image.Resampling.BILINEAR)))


def resized(width: int, height: int) -> tuple[int, int]:
    """Return the size after the short side became `RESIZE`, as torchvision rounds it."""
    short = min(width, height)
    return int(RESIZE * width / short), int(RESIZE * height / short)


def crop_centre(image: Image.Image) -> Image.Image:
    """Crop as torchvision does."""
    left, top = (round((side - CROP) / 2) for side in image.size)
    return image.crop((left, top, left + CROP, top + CROP))


def with_service() -> Decode:
    """Return what the service does."""
    preprocessing = Preprocessing(resize=RESIZE, crop=CROP, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Decoder(preprocessing).decode


CONTENDERS: dict[str, Decode] = {
    "Pillow": with_pillow,
    "libjpeg-turbo + Pillow's resize": with_both,
    "libjpeg-turbo alone": simplejpeg.decode_jpeg,
    "service": with_service(),
}


def measure(images: list[bytes], threads: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Return (CPU ms an image, images/s) of each contender."""
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            for name, decode in CONTENDERS.items():
                cpu, clock = time.process_time(), time.perf_counter()
                for _ in pool.map(decode, images):
                    pass
                cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
                costs[name].append((cpu / len(images) * 1e3, len(images) / clock))
    return {
        name: (statistics.median(cpu for cpu, _ in runs), statistics.median(rate for _, rate in runs))
        for name, runs in costs.items()
    }


def print_row(images: str, threads: int, costs: dict[str, tuple[float, float]]) -> None:
    """Print a row of the table."""
    cells = [f"{cpu:.3f} ({rate:,.0f}/s)" for cpu, rate in costs.values()]
    ratio = costs["service"][0] / costs["Pillow"][0]
    print(f"| {images} | {threads} | " + " | ".join(cells) + f" | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
