"""How a service of several processes begins and ends: in order, with a clear word, and leaving nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.service.artefacts import write_brightness
from tests.service.cluster.processes import Cluster, answered, cluster, lives, until
from tests.service.serving import Service, command, environment, serving


def start(artifacts: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a service that is expected not to come up, and to remove its folder of sockets."""
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            command("--artifacts", str(artifacts), "--port", "0", "--frontends", "2", *arguments),
            cwd=ROOT,
            env=environment(TMPDIR=folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert not list(Path(folder).glob("resnet-serve-*"))
    return result


@contextmanager
def ending_with(code: int) -> Iterator[None]:
    """Expect `serving` to complain of this exit code."""
    with pytest.raises(AssertionError, match=f"exit code {code}"):
        yield


def test_sigterm_loses_nothing_that_was_accepted_and_leaves_nothing_behind(artifacts: Path) -> None:
    with cluster(artifacts) as here, ThreadPoolExecutor(24) as pool:
        here.kill("engine-0", signal.SIGSTOP)  # whatever is asked now is in flight when the signal comes
        waiting = [pool.submit(here.classify, level) for level in range(24)]
        until(lambda: here.depth() == 24, 10)
        here.service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        here.kill("engine-0", signal.SIGCONT)
        responses = [future.result() for future in waiting]
        assert [answered(response) for response in responses] == [f"grey {level}" for level in range(24)]
        assert here.service.process.wait(timeout=20) == 0


def test_control_c_reaches_the_whole_group_and_still_stops_it_in_order(artifacts: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                command("--artifacts", str(artifacts), "--port", "0", "--frontends", "2"),
                cwd=ROOT,
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        service = Service(process, output)
        service.wait_until_ready()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert "Traceback" not in service.log
        assert "starting another" not in service.log
        assert not [path for path in Cluster(service).traces() if path.exists()]


@pytest.mark.slow  # two seconds; so does test_drain.py's
def test_a_second_signal_stops_at_once(artifacts: Path) -> None:
    with ending_with(1), serving(artifacts, "--frontends", "2") as service:
        here = Cluster(service)
        here.kill("engine-0", signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(here.classify, 1)
            until(lambda: here.depth() == 1, 10)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert service.process.poll() is None  # it would wait for the answer
            service.process.send_signal(signal.SIGTERM)
            assert isinstance(waiting.exception(timeout=10), httpx.TransportError)
        service.process.wait(timeout=10)
        assert not any(map(lives, here.pids().values()))
        assert not [path for path in here.traces() if path.exists()]


def test_when_the_supervisor_is_killed_its_children_end_and_even_then_nothing_stays(artifacts: Path) -> None:
    with ending_with(-9), serving(artifacts, "--frontends", "2") as service:
        here = Cluster(service)
        pids, traces = here.pids().values(), here.traces()
        assert all(path.exists() for path in traces)
        service.process.kill()
        until(lambda: not any(map(lives, pids)), 10)
        # The resource tracker unlinks the arena once the last process that had it open is gone.
        until(lambda: not any(path.exists() for path in traces), 10)


def test_a_child_that_cannot_start_ends_the_service_with_its_reason(tmp_path: Path) -> None:
    write_brightness(tmp_path).write_bytes(b"not a model")
    result = start(tmp_path)
    assert result.returncode == 1
    assert "the engine cannot start:" in result.stdout
    assert "model.onnx cannot be loaded" in result.stdout
    assert "Traceback" not in result.stdout


@pytest.mark.slow  # so is one in tests/faults/test_room.py
def test_an_arena_that_does_not_fit_is_refused_at_start(artifacts: Path) -> None:
    size = shutil.disk_usage("/dev/shm").total
    result = start(artifacts, "--queue-capacity", str(size // 4096))  # a slot of `brightness` takes more than a page
    assert result.returncode == 1
    assert "/dev/shm is too small for" in result.stdout
    assert "--shm-size" in result.stdout
    assert "Traceback" not in result.stdout


def test_a_port_in_use_is_told(artifacts: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = start(artifacts, "--port", str(port))
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in result.stdout


@pytest.mark.slow  # a start of its own and another engine
def test_a_version_that_appears_while_serving_is_for_the_next_start(tmp_path: Path) -> None:
    write_brightness(tmp_path, version=1)
    with cluster(tmp_path, frontends=1) as here:
        write_brightness(tmp_path, version=2)
        pid = here.kill("engine-0")
        until(lambda: here.pid("engine-0") != pid and here.ready(), 10)
        assert here.classify(5).json()["model"]["version"] == "1"


def test_one_process_imports_nothing_of_this() -> None:
    code = (
        "import sys, service.__main__, service.app, service.server\n"
        "print([name for name in sys.modules if name.startswith(('service.cluster', 'zmq'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
