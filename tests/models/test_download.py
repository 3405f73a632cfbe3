from __future__ import annotations

import hashlib
import io
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models import download as download_module
from models import zoo
from models.download import DownloadError, download

CONTENT = bytes(range(256)) * 4096  # 1 MiB
PREFIX = hashlib.sha256(CONTENT).hexdigest()[:8]


@dataclass
class Server:
    """A real HTTP server on 127.0.0.1; the first part of a path says how it behaves."""

    url: str
    requests: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            match self.path.split("/")[1]:
                case "missing":
                    self.send_error(404)
                case "moved":
                    self.send_response(302)
                    self.send_header("Location", f"{state.url}/ok/weights.pth")
                    self.end_headers()
                case behaviour:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(CONTENT)))
                    self.end_headers()
                    self.wfile.write(CONTENT if behaviour == "ok" else CONTENT[:100_000])
                    if behaviour == "stalled":
                        state.released.wait(10)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        state = Server(f"http://127.0.0.1:{httpd.server_port}")
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state
        state.released.set()
        httpd.shutdown()
        thread.join(10)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(download_module.MIRROR_VARIABLE, raising=False)
    return tmp_path / "hub" / "checkpoints"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_file_is_downloaded_once_into_torch_hubs_cache(server: Server, cache: Path) -> None:
    for _ in range(2):
        path = download(f"{server.url}/ok/weights.pth", PREFIX)
        assert path == cache / "weights.pth"
        assert path.read_bytes() == CONTENT
    assert server.requests == ["/ok/weights.pth"]
    assert list(cache.iterdir()) == [path]


def test_a_redirect_is_followed(server: Server) -> None:
    assert download(f"{server.url}/moved/weights.pth", PREFIX).read_bytes() == CONTENT


def test_a_damaged_cached_file_is_downloaded_again(server: Server, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "weights.pth").write_bytes(CONTENT[:-1])
    assert download(f"{server.url}/ok/weights.pth", PREFIX).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("missing", "the server answered 404"),
        ("interrupted", "without sending complete message body"),
        ("stalled", "timed out|ReadTimeout"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(
    behaviour: str, message: str, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "TIMEOUT_S", 0.5)
    url = f"{server.url}/{behaviour}/weights.pth"
    with pytest.raises(DownloadError, match=message) as caught:
        download(url, PREFIX)
    assert url in str(caught.value)
    assert list(cache.iterdir()) == []


def test_another_hash_is_refused_and_leaves_nothing(server: Server, cache: Path) -> None:
    with pytest.raises(DownloadError, match=f"SHA-256 begins {PREFIX}, not 01234567"):
        download(f"{server.url}/ok/weights.pth", "01234567")
    assert list(cache.iterdir()) == []


def test_a_refused_connection_is_a_download_error(cache: Path) -> None:
    url = f"http://127.0.0.1:{closed_port()}/weights.pth"
    with pytest.raises(DownloadError, match=r"(?i)connect") as caught:
        download(url, PREFIX)
    assert url in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_download_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("TORCH_HOME", str(blocked))
    with pytest.raises(DownloadError, match="file"):
        download(f"{server.url}/ok/weights.pth", PREFIX)


def test_official_weights_come_from_the_mirror_where_one_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(download_module.MIRROR_VARIABLE, f"{server.url}/ok/")
    official = zoo.default_weights("resnet50")
    with pytest.raises(DownloadError, match=f"not {official.sha256_prefix}"):
        zoo.fetch(official)  # the server has another file than the one that was published
    assert server.requests == ["/ok/resnet50-11ad3fa6.pth"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_only_and_only_if_wanted(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    for name, stream, progress in (
        ("wanted", Terminal(), True),
        ("unwanted", Terminal(), False),
        ("in a log", io.StringIO(), True),
    ):
        monkeypatch.setattr("sys.stderr", stream)
        download(f"{server.url}/ok/weights.pth", PREFIX, progress=progress).unlink()
        drawn[name] = stream.getvalue()
    assert "weights.pth: 100%" in drawn["wanted"]
    assert drawn["unwanted"] == drawn["in a log"] == ""
