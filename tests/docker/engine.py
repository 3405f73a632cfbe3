"""A Docker engine of our own: Debian's, started by hand, its data under build/, and images on a stand-in base.

No registry of images is needed: `../shared/docker/base-image.sh` makes what stands in for the official Python image. As
a program, `python3 -m tests.docker.engine` builds the image, so that who builds it again finds every layer made; needs
nothing but the standard library, since CI runs it while everything else is still being installed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("RESNET_TEST_SHARED", ROOT.parent / "shared"))
MAKE_BASE = SHARED / "docker" / "base-image.sh"
DATA = ROOT / "build" / "docker"
CLIENT = "/usr/bin/docker"  # Debian's, of the same version as its engine
BASE, IMAGE = "local/python:slim", "resnet-serve:test"
START_WITHIN_S = 60
_FLAGS = (
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--storage-driver=overlay2",
)
_OF_THE_BASE = (
    "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    'CMD ["python3"]',
)


def reason_missing() -> str | None:
    """Return why there can be no engine here, or None."""
    if os.geteuid() != 0:
        return "a Docker engine needs root"
    for needed in (CLIENT, "dockerd", "mmdebstrap"):
        if shutil.which(needed) is None:
            return f"no {needed}: Debian has them in `docker.io` and `mmdebstrap`"
    return None if MAKE_BASE.is_file() else f"no {MAKE_BASE}"


class Engine:
    """A running engine, one at a time; who comes second waits for the first."""

    def __init__(self) -> None:
        DATA.mkdir(parents=True, exist_ok=True)
        self._lock: IO[str] = (DATA / "lock").open("w")
        self._folder = tempfile.mkdtemp(prefix="docker-")  # a socket's path may not be long
        self._host = f"unix://{self._folder}/docker.sock"
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Engine:
        """Start it, and wait until it answers."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        command = ["dockerd", "--data-root", str(DATA / "data"), "--host", self._host, *_FLAGS]
        places = ["--exec-root", f"{self._folder}/exec", "--pidfile", f"{self._folder}/pid"]
        with (DATA / "dockerd.log").open("wb") as log:
            self._daemon = subprocess.Popen([*command, *places], stdout=log, stderr=log, start_new_session=True)
        limit_s = time.monotonic() + START_WITHIN_S
        while self.call("version").returncode != 0:
            if self._daemon.poll() is not None or time.monotonic() > limit_s:
                self.__exit__()
                raise RuntimeError(f"dockerd does not answer:\n{(DATA / 'dockerd.log').read_text()[-4000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, and whatever still runs in it."""
        assert self._daemon is not None
        self._daemon.terminate()
        try:
            self._daemon.wait(60)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        # It leaves the namespace of host networking mounted, without which the folder cannot be removed.
        subprocess.run(["umount", f"{self._folder}/exec/netns/default"], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self._folder)
        self._lock.close()

    def call(self, *arguments: str, timeout_s: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the client; its output, both streams together, is in `stdout`."""
        return subprocess.run(
            [CLIENT, *arguments],
            env={**os.environ, "DOCKER_HOST": self._host, "DOCKER_BUILDKIT": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
            **options,
        )

    def run(self, *arguments: str, timeout_s: float = 60) -> str:
        """Run the client, which has to succeed; return its output."""
        done = self.call(*arguments, timeout_s=timeout_s)
        if done.returncode != 0:
            raise RuntimeError(f"docker {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout[-4000:]}")
        return done.stdout.strip()

    def make_base(self) -> None:
        """Make the stand-in for the official image, if it is not there."""
        if self.call("image", "inspect", BASE).returncode == 0:
            return
        archive = DATA / "base.tar"
        subprocess.run([str(MAKE_BASE), str(archive)], check=True, stdin=subprocess.DEVNULL, timeout=400)
        changes = [part for change in _OF_THE_BASE for part in ("-c", change)]
        self.run("import", *changes, str(archive), BASE, timeout_s=120)
        archive.unlink()

    def build(self, tag: str, context: Path = ROOT, arguments: Mapping[str, str] | None = None) -> None:
        """Build the Dockerfile of `context` as its users do, but for the base."""
        chosen = {"PYTHON_IMAGE": BASE, **(arguments or {})}
        given = [part for pair in chosen.items() for part in ("--build-arg", "=".join(pair))]
        self.run("build", "--network", "host", *given, "--tag", tag, str(context), timeout_s=580)


def main() -> int:
    """Build the image."""
    if (reason := reason_missing()) is not None:
        print(f"no image is built: {reason}")
        return 0
    with Engine() as engine:
        engine.make_base()
        engine.build(IMAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
