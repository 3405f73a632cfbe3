"""Coverage-guided fuzzing of `Decoder.decode`: whatever the bytes are, pixels or a service error below 500, and soon.

    make fuzz ARGS="--seconds 3600 --corpus path"

Seeds are made at the start: an image of every kind and every bomb of the tests. An input that breaks the promise is
written to `--findings` and the exit code is not 0; fixed, it stays as a test in tests/service/test_image_hostile.py.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script

with atheris.instrument_imports(include=["PIL", "service"]):
    from service.errors import ServiceError
    from service.image import Decoder, Limits

from tests.service.bombs import bombs
from tests.service.images import preprocessing, samples

# Pictures within the limit may take as long as their pixels need: a small limit makes every long run a finding.
LIMITS = Limits(max_pixels=1 << 20)
MAX_CPU_S = 2.0


def main() -> None:
    arguments = parse_arguments()
    arguments.findings.mkdir(parents=True, exist_ok=True)
    logging.getLogger("service.image").addHandler(Failure(logging.WARNING))
    decoder = Decoder(preprocessing(32, 28), LIMITS)
    with tempfile.TemporaryDirectory() as folder:
        for name, body in seeds():
            (Path(folder) / name).write_bytes(body)
        folders = [folder]
        if arguments.corpus is not None:
            arguments.corpus.mkdir(parents=True, exist_ok=True)
            folders.insert(0, str(arguments.corpus))
        options = [
            f"-verbosity={int(arguments.verbose)}",
            f"-max_total_time={arguments.seconds}",
            f"-max_len={arguments.max_bytes}",
            f"-artifact_prefix={arguments.findings}/",
            "-rss_limit_mb=1024",
            "-timeout=20",
            "-close_fd_mask=0",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *options, *folders], lambda body: decode(decoder, body))
        atheris.Fuzz()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long to fuzz (default: %(default)s)")
    parser.add_argument("--max-bytes", type=int, default=16384, help="longest input (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, help="folder of inputs that reach new code, kept from run to run")
    parser.add_argument("--verbose", action="store_true", help="write a line for each of these as it is found")
    findings = Path(tempfile.gettempdir()) / "fuzz-image"
    parser.add_argument("--findings", type=Path, default=findings, help="where to keep them (default: %(default)s)")
    return parser.parse_args()


class Failure(logging.Handler):
    """Makes a finding of what the decoder did not foresee: it answers 422 and logs a warning."""

    def emit(self, record: logging.LogRecord) -> None:
        raise AssertionError(record.getMessage()) from (record.exc_info[1] if record.exc_info else None)


def seeds() -> list[tuple[str, bytes]]:
    """Return small ones: the fuzzer is quicker, and less of what it changes is mere pixels."""
    return [(sample.name, sample.body) for sample in samples(19, 13)] + [*bombs()]


def decode(decoder: Decoder, body: bytes) -> None:
    """Decode, and raise AssertionError where the promise is broken."""
    start = time.process_time()
    try:
        pixels = decoder.decode(body)
    except ServiceError as error:
        if error.status >= 500:
            raise AssertionError("an error of the service, not of the image") from error
    else:
        assert pixels.shape == (28, 28, 3), pixels.shape
    assert time.process_time() - start < MAX_CPU_S, "took too long"


if __name__ == "__main__":
    main()
