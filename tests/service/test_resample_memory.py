"""The C of `service` reads and writes nothing but what it was given, whatever the sizes: under AddressSanitizer."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from service import resample
from service.resample import ORIENTATIONS, Picture, Pixels, resize_and_crop
from tests.conftest import ROOT, missing
from tests.service.images import preprocessing

CASES = 1500


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The library with every access checked, and what has to be loaded before it."""
    compiler = shutil.which("cc")
    if compiler is None:
        missing("there is no C compiler")
    library = tmp_path_factory.mktemp("sanitized") / "libnative.so"
    flags = ["-std=gnu11", "-O1", "-g", "-ffp-contract=off", "-fPIC", "-shared", "-fsanitize=address,undefined"]
    sources = sorted((ROOT / "service").glob("*.c"))
    subprocess.run([compiler, *flags, "-fno-sanitize-recover=all", "-o", library, *sources], check=True, timeout=120)
    run_time = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return library, run_time.stdout.strip()


def run(sanitized: tuple[Path, str], what: str) -> subprocess.CompletedProcess[str]:
    """Run a function of this module in a process that loads the checked library."""
    library, run_time = sanitized
    command = [sys.executable, "-c", f"from tests.service import test_resample_memory as t; t.{what}({str(library)!r})"]
    env = {"LD_PRELOAD": run_time, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONPATH": str(ROOT), "PYTHONMALLOC": "malloc"}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_no_size_orientation_or_reduction_reaches_beyond_a_picture(sanitized: tuple[Path, str]) -> None:
    result = run(sanitized, "resize_many")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(CASES)]


def test_one_byte_too_few_would_be_noticed(sanitized: tuple[Path, str]) -> None:
    result = run(sanitized, "resize_what_is_too_short")
    assert "heap-buffer-overflow" in result.stderr


def resize_many(library: str) -> None:
    resample._LIBRARY = resample._library(Path(library))
    chance, done = random.Random(0), 0
    for _ in range(CASES):
        width, height = (chance.choice((1, 2, 3, 7, 63, 224, 256, 257, chance.randrange(1, 900))) for _ in range(2))
        if chance.random() < 0.02:
            width, height = chance.choice(((1 << 22, 1), (1, 1 << 22), (3_000_001, 2)))
        denominator = chance.choice((1, 1, 1, 2, 4, 8))
        crop = chance.choice((1, 8, 28, 224))
        samples = np.zeros((-(-height // denominator), -(-width // denominator), 3), np.uint8)

        def read(left: int, top: int, right: int, bottom: int, samples: Pixels = samples) -> Pixels:
            return samples[top:bottom, left:right]  # of the whole: its last byte is the last in memory

        picture = Picture(width, height, read, ORIENTATIONS[chance.randint(1, 8)], denominator)
        out = np.empty((crop, crop, 3), np.uint8)
        resize_and_crop(picture, preprocessing(crop + chance.choice((0, 0, 32)), crop), out)
        assert not out.any()
        done += 1
    print(done)


def resize_what_is_too_short(library: str) -> None:
    resample._LIBRARY = resample._library(Path(library))
    whole = np.zeros(30 * 30 * 3 - 1, np.uint8)
    short = np.lib.stride_tricks.as_strided(whole, (30, 30, 3), (90, 3, 1))
    picture = Picture(30, 30, lambda left, top, right, bottom: short[top:bottom, left:right])
    resize_and_crop(picture, preprocessing(28, 28), np.empty((28, 28, 3), np.uint8))
