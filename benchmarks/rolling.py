"""`python -m benchmarks.rolling`: two replicas behind nginx, replaced one by one under load, as Kubernetes does it.

    start the new one ──▶ ready ──▶ nginx sends to it ──▶ SIGTERM to an old one ──▶ nginx hears of it ──▶ it has ended
                                                          └──── `notice_s` ──────┘

A Deployment with `maxUnavailable: 0` and `maxSurge: 1` does the same: a pod is told to end in the moment in which it is
taken from its Service, and whoever sends requests learns of that later. What the service makes of it is up to its
drain, whose settings are those of deploy/base/settings.env. nginx passes each request to one replica and never tries
another.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which

from benchmarks.callers import Callers
from benchmarks.server import free_port, is_ready

_ROOT = Path(__file__).resolve().parent.parent
SETTINGS = _ROOT / "deploy" / "base" / "settings.env"
_OWN = ("RESNET_HOST", "RESNET_PORT", "RESNET_MANAGEMENT_PORT", "RESNET_ARTIFACTS")  # differ on one machine
_NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream replicas {{
    {servers}
    keepalive 16;
  }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 20m;
    client_body_buffer_size 20m; # no files, which its worker, another user, could not write here
    # Closed after each answer: a reload closes connections that idle, which would race with a client's next request.
    keepalive_timeout 0;
    location / {{
      proxy_pass http://replicas;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_next_upstream off;
    }}
  }}
}}
"""
_ENDS_WITHIN_S = 60.0


class Replica:
    """One `resnet-serve`, as a pod would run it."""

    def __init__(self, model: str, artifacts: Path, settings: Mapping[str, str]) -> None:
        self.port, self._management = free_port(), free_port()
        ports = ("--port", f"{self.port}", "--management-port", f"{self._management}")
        command = [sys.executable, "-m", "service", "--artifacts", str(artifacts), "--model", model, *ports]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RESNET_")}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the replica
        self.process = subprocess.Popen(
            command, env=environment | dict(settings), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def wait_until_ready(self) -> None:
        """Return once its readiness probe would succeed.

        Raises:
            RuntimeError: it ended.
        """
        _until(lambda: is_ready(self._management) or self.process.poll() is not None)
        if self.process.poll() is not None:
            log = os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")
            raise RuntimeError(f"resnet-serve ended with exit code {self.process.returncode}:\n{log}")

    def tell_to_end(self) -> None:
        """Send SIGTERM, as the kubelet does."""
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Have it ended, one way or the other."""
        self.process.kill()
        self.process.wait()
        self._log.close()


class Nginx:
    """What requests come through."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def send_to(self, replicas: Sequence[Replica]) -> None:
        """Send requests to these replicas from now on."""
        servers = "\n    ".join(f"server 127.0.0.1:{replica.port} max_fails=0;" for replica in replicas)
        path = self._folder / "nginx.conf"
        path.write_text(_NGINX.format(folder=self._folder, servers=servers, port=self.port))
        if self._process is None:
            errors = self._folder / "error.log"
            command = [nginx(), "-p", str(self._folder), "-c", str(path), "-e", str(errors)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        else:
            self._process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


def nginx() -> str:
    """Return nginx's path.

    Raises:
        RuntimeError: there is none.
    """
    found = which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise RuntimeError("no nginx: Debian has it in `nginx-light`")
    return found


def shipped() -> dict[str, str]:
    """Return the settings of deploy/base, without those that say where."""
    lines = (line for line in SETTINGS.read_text().splitlines() if line and not line.startswith("#"))
    return {name: value for name, value in (line.split("=", 1) for line in lines) if name not in _OWN}


def roll(
    models: tuple[str, str],
    artifacts: Path,
    images: Sequence[bytes],
    settings: Mapping[str, str],
    *,
    replicas: int = 2,
    clients: int = 4,
    notice_s: float = 2.0,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, object]:
    """Replace each replica of one model by one of another, under load; return what became of the requests.

    Args:
        models: NAME:VERSION before and after.
        artifacts: Model repository.
        images: What clients ask about, in turn.
        settings: Of the service, by environment variable.
        replicas: How many there are.
        clients: Each has one request in flight.
        notice_s: From the moment a replica is told to end until nginx sends it nothing any more.
        say: Is told of each step.

    Raises:
        RuntimeError: there is no nginx, or a replica did not start.
    """
    with ExitStack() as stack:
        front = Nginx(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rolling-"))))
        stack.callback(front.close)

        def start(model: str) -> Replica:
            replica = Replica(model, artifacts, settings)
            stack.callback(replica.close)
            replica.wait_until_ready()
            return replica

        serving = [start(models[0]) for _ in range(replicas)]
        front.send_to(serving)
        _until(lambda: _listens(front.port))
        exits = []
        with _calling(front.port, images, clients) as callers:
            began_s = time.monotonic()
            for old in serving[:]:
                serving.append(start(models[1]))
                front.send_to(serving)
                old.tell_to_end()
                time.sleep(notice_s)
                serving.remove(old)
                front.send_to(serving)
                exits.append(old.process.wait(_ENDS_WITHIN_S))
                say(f"{len(exits)} of {replicas} replaced after {time.monotonic() - began_s:.1f} s")
            took_s = time.monotonic() - began_s
            callers.go_on_for(clients * 4)
        return {"seconds": round(took_s, 1), "exit_codes": exits, **callers.summary()}


@contextmanager
def _calling(port: int, images: Sequence[bytes], clients: int) -> Iterator[Callers]:
    callers = Callers(port, images, clients)
    callers.go_on_for(clients * 4)
    try:
        yield callers
    finally:
        callers.stop()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _until(happened: Callable[[], bool], within_s: float = _ENDS_WITHIN_S) -> None:
    limit_s = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > limit_s:
            raise RuntimeError(f"it did not happen within {within_s:g} s")
        time.sleep(0.05)


def main(arguments: Sequence[str] | None = None) -> int:
    """Roll a Deployment's worth of replicas; the exit code is 1 if a request was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rolling", description=main.__doc__)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), metavar="DIR", help="model repository")
    parser.add_argument("--before", required=True, metavar="NAME:VERSION", help="what is served at first")
    parser.add_argument("--after", required=True, metavar="NAME:VERSION", help="what is rolled out")
    parser.add_argument("--replicas", type=int, default=2, metavar="N", help="default: %(default)s")
    parser.add_argument("--clients", type=int, default=4, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--notice-s", type=float, default=2.0, help="until nginx hears of an end (default: %(default)s)"
    )
    parser.add_argument("images", nargs="+", type=Path, help="images that clients send")
    parsed = parser.parse_args(arguments)
    result = roll(
        (parsed.before, parsed.after),
        parsed.artifacts,
        [path.read_bytes() for path in parsed.images],
        shipped(),
        replicas=parsed.replicas,
        clients=parsed.clients,
        notice_s=parsed.notice_s,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(json.dumps(result, indent=1))
    return 1 if result["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
