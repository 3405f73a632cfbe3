"""No file descriptors left: RLIMIT_NOFILE is real, and so are the connections that use them up."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.faults.crowd import BROKEN, ask
from tests.faults.witness import FaultyService, faulty, witnessing
from tests.service.cluster.processes import Cluster, grey, until

SPARE = 20  # that are left to a process for connections


def leave_spare(pids: Iterable[int]) -> None:
    """Limit running processes to a few more descriptors than they have: fewer than the connections they may have."""
    for pid in pids:
        highest = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + SPARE, hard))


def use_up(service: FaultyService, stack: ExitStack) -> None:
    """Open connections that the service waits for the rest of, until it takes no more; `stack` closes them."""
    where = (urlsplit(service.url).hostname or "", urlsplit(service.url).port or 0)
    opened = []
    for _ in range(4 * SPARE):
        connection = stack.enter_context(socket.create_connection(where, timeout=5))
        with suppress(OSError):  # closed already, where there is no descriptor for it
            connection.sendall(b"POST /classify HTTP/1.1\r\n")  # and no more of it
        connection.setblocking(False)
        opened.append(connection)
    time.sleep(0.2)
    held = [connection for connection in opened if _is_open(connection)]
    for connection in set(opened) - set(held):
        connection.close()
    assert len(held) < len(opened)


def _is_open(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_without_descriptors_who_is_in_is_answered_who_comes_is_told_at_once_and_later_all_is_well(
    repository: Path, shape: tuple[str, ...]
) -> None:
    with faulty(repository, *shape) as service:
        here = Cluster(service)
        leave_spare([here.pid("frontend-0"), here.pid("frontend-1")] if shape else [service.pid])
        with httpx.Client(base_url=service.url, timeout=10) as inside, ExitStack() as stack:
            assert inside.post("/classify", content=grey(1)).status_code == 200
            use_up(service, stack)
            refused = [ask(service.url, level, patience_s=10) for level in range(4)]
            # Another frontend may have some left.
            assert all(one.outcome == BROKEN or (one.right and shape) for one in refused)
            assert max(one.ended_s - one.started_s for one in refused) < 2
            response = inside.post("/classify", content=grey(2))
            assert response.json()["predictions"][0]["label"] == "grey 2"
            if shape:  # an engine that is replaced in the middle of this, and nobody can connect to it
                here.kill("engine-0")

                def nobody_reaches_it() -> bool:
                    use_up(service, stack)  # what its predecessor's connection had is taken, too
                    return service.says("cannot be reached now: Too many open files")

                until(nobody_reaches_it, 15)
        freed_s = time.monotonic()
        until(lambda: all(ask(service.url, level).right for level in range(8)), 5)
        assert time.monotonic() - freed_s < 5


@pytest.mark.slow  # another start, and the pause before a second try
def test_a_supervisor_without_descriptors_replaces_who_died_once_it_has_some(repository: Path, tmp_path: Path) -> None:
    with (
        faulty(repository, "--frontends", "1") as service,
        witnessing(service, tmp_path) as witness,
    ):
        here = Cluster(service)
        witness.settle()
        soft, hard = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (3, hard))
        here.kill("engine-0")
        until(lambda: service.says("engine-0 cannot be started now: [Errno 24] Too many open files"), 10)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (soft, hard))
        witness.recovers(time.monotonic())
    assert set(witness.outcomes()) == {200, 503}
