"""The processes of a running service, from outside: who they are, whether they live, what they left behind."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image

from tests.service.serving import Service, serving

_ARENA = re.compile(r"INFO supervisor \S+: arena (\S+): .* sockets in (\S+)$", re.MULTILINE)
_STARTED = re.compile(r"INFO supervisor \S+: (\S+) is process (\d+)$", re.MULTILINE)
SHM = Path("/dev/shm")
KEY = "a-key-of-sixteen-characters"


def grey(level: int, side: int = 32) -> bytes:
    """Return a PNG whose class of `brightness` is `grey LEVEL`."""
    out = BytesIO()
    Image.new("L", (side, side), level).save(out, "PNG")
    return out.getvalue()


def answered(response: httpx.Response) -> str:
    """Return the most probable label of an answer."""
    label: str = response.json()["predictions"][0]["label"]
    return label


class Cluster:
    """A service of several processes.

    Attributes:
        service: It, as its starter sees it.
        client: Asks it.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        # A connection for each request, so that they spread over the frontends. Not by httpx.Limits: a pool that keeps
        # none may close one that another thread has just been given (https://github.com/encode/httpcore/issues/1110).
        self.client = httpx.Client(base_url=service.url, headers={"Connection": "close"}, timeout=30, trust_env=False)

    def pid(self, name: str) -> int:
        """Return the process that has the place `name` now."""
        return self.pids()[name]

    def pids(self) -> dict[str, int]:
        """Return every child by its name."""
        return {name: int(pid) for name, pid in _STARTED.findall(self.service.log)}  # the latest wins

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a child; return its process id."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def traces(self) -> tuple[Path, Path]:
        """Return what it has to remove in the end: the arena, and the folder of the sockets."""
        arena, folder = _ARENA.findall(self.service.log)[-1]
        return SHM / arena, Path(folder)

    def arenas(self) -> list[str]:
        """Return the names of all arenas that it ever had."""
        return [arena for arena, _ in _ARENA.findall(self.service.log)]

    def ready(self) -> bool:
        """Whether a request would be answered."""
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def classify(self, level: int) -> httpx.Response:
        """Have a grey image classified."""
        return self.client.post("/classify", content=grey(level))

    def depth(self) -> int:
        """Return how many images hold a place."""
        depth: int = self.client.get("/healthz").json()["queue_depth"]
        return depth


def until(condition: Callable[[], object], within_s: float) -> float:
    """Wait until `condition()` holds; return how long that took."""
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() < started_s + within_s, f"not in {within_s} s"
        time.sleep(0.01)
    return time.monotonic() - started_s


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not fetched by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def cluster(artifacts: Path, *arguments: str, frontends: int = 2) -> Iterator[Cluster]:
    """Serve `artifacts` from several processes; after the block they have ended and left nothing behind."""
    with serving(artifacts, "--frontends", str(frontends), *arguments) as service:
        here = Cluster(service)
        yield here
        here.client.close()
        pids, traces = here.pids().values(), [*here.traces(), *(SHM / name for name in here.arenas())]
    assert not [pid for pid in pids if lives(pid)]
    assert not [path for path in traces if path.exists()]


@contextmanager
def administered(artifacts: Path, *arguments: str) -> Iterator[Cluster]:
    """Serve as `cluster` does, with a client that may load and unload models."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keys.write_text(f"{KEY}\n")
        with cluster(artifacts, "--model-admin", "--api-keys-file", str(keys), *arguments) as here:
            here.client.headers["X-API-Key"] = KEY
            yield here
