"""A mount namespace of a test's own, with a small file system in the place of a folder. Nobody else sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT, missing

_AS_ROOT = ["unshare", "--mount"]
_AS_ANYBODY = ["unshare", "--mount", "--user", "--map-root-user"]


class Namespace:
    """What is mounted where, and how to run something there."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    @property
    def prefix(self) -> list[str]:
        """What to put before a command so that it runs in here, in the project's folder."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        enter = ["nsenter", "--mount", *user, "--target", str(self._pid), "--"]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(ROOT)]

    def outside(self, path: Path) -> Path:
        """Return by which path this process finds what is at `path` in here (proc(5))."""
        return Path(f"/proc/{self._pid}/root{path}")


@contextmanager
def small_file_system(at: Path, mebibytes: int) -> Iterator[Namespace]:
    """Put a file system of this size in the place of the folder `at`, for those in the namespace."""
    create = _AS_ROOT if os.geteuid() == 0 else _AS_ANYBODY
    script = f'mount -t tmpfs -o size={mebibytes}m tmpfs "$0" && echo mounted && exec sleep infinity'
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        missing("there is no unshare or nsenter (util-linux)")
    process = subprocess.Popen(
        [*create, "sh", "-c", script, str(at)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "mounted\n":
            missing(f"no mount namespace can be had: {process.communicate()[1]}")
        yield Namespace(process.pid)
    finally:
        process.kill()
        process.communicate()


def fill(folder: Path) -> Path:
    """Write a file into `folder` until the file system has no room left; return it."""
    filler = folder / "filler"
    block = bytes(1 << 16)
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(block)
        except OSError:
            block = bytes(1)
        try:
            while True:
                file.write(block)
        except OSError:
            return filler
