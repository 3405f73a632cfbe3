"""Artefacts that take minutes to make, kept in build/ for as long as whatever makes them is the same."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from tests.conftest import ROOT

_FOLDER = ROOT / "build" / "test-artefacts"
_MADE_WITH = ("torch", "onnx", "onnxruntime", "numpy")


def kept(name: str, inputs: Iterable[Path], make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` filled, now or in an earlier run.

    Args:
        name: What is in it.
        inputs: Files it is made of; with them, all code of the exporter, and of the service that it decodes with, and
            the versions of what computes, decide whether it is the same.
        make: Fills the folder that it is given.
    """
    key = hashlib.sha256(" ".join(version(package) for package in _MADE_WITH).encode())
    code = [path for package in ("models", "export", "service") for path in (ROOT / package).rglob("*.py")]
    # Of the service only what reads and decodes: the rest makes no difference to an artefact.
    code = [path for path in code if path.parts[len(ROOT.parts)] != "service" or path.name in _DECODING]
    for path in sorted([*code, *inputs]):
        key.update(hashlib.sha256(path.read_bytes()).digest())
    folder = _FOLDER / f"{name}-{key.hexdigest()[:16]}"
    if not folder.is_dir():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        for old in _FOLDER.glob(f"{name}-*"):
            shutil.rmtree(old)
        partial = _FOLDER / f".{folder.name}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        make(partial)
        partial.rename(folder)
    return folder


_DECODING = {"contract.py", "image.py", "jpeg.py", "raster.py", "resample.py", "exif.py", "golden.py", "engine.py"}
