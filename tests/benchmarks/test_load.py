from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from benchmarks import load
from benchmarks.load import LONG_RAMP_S, closed_loop, open_loop
from benchmarks.server import Server, ServerFailed, serving
from benchmarks.subjects import Subject
from tests.conftest import missing


@pytest.fixture(params=["wrk", "generator"])
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of what makes load in a closed loop."""
    name: str = request.param
    if name == "wrk" and shutil.which("wrk") is None:
        missing("wrk is not installed")
    if name == "generator":
        monkeypatch.setattr(load.shutil, "which", lambda _: None)
    return name


def test_a_closed_loop_is_answered_without_failures(tool: str, toy: Subject, toy_server: Server) -> None:
    reading = closed_loop(toy_server, toy.images, 8, (0.2, 0.8), ramp_s=0.0)
    assert reading.failed == 0
    assert reading.images_per_s > 20
    assert 0.1 < reading.cpu_ms < 50
    assert 0 < reading.p50_ms <= reading.p99_ms < 5000
    assert 0 <= reading.client_cpu < 1.5
    # Little's law: clients = rate * mean latency. The median is near enough to tell seconds from milliseconds.
    assert 8 / reading.images_per_s * 1e3 / 5 < reading.p50_ms < 8 / reading.images_per_s * 1e3 * 5


def test_a_closed_loop_counts_what_is_not_answered_with_200(
    tool: str, toy: Subject, toy_server: Server, tmp_path: Path
) -> None:
    no_image = tmp_path / "no.jpg"
    no_image.write_bytes(b"not an image")
    reading = closed_loop(toy_server, [toy.images[0], no_image], 2, (0.1, 0.6), ramp_s=0.0)
    assert reading.failed > 0
    assert reading.images_per_s > 0


@pytest.mark.slow  # as long as the ramp
def test_a_long_ramp_is_left_to_our_own_generator(
    toy: Subject, toy_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_wrk", lambda *_: pytest.fail("wrk's percentiles would include the ramp"))
    assert closed_loop(toy_server, toy.images, 1, (0.0, 0.3), ramp_s=LONG_RAMP_S).failed == 0


def test_arrivals_come_at_the_rates_asked_for(toy: Subject, toy_server: Server) -> None:
    slow, fast = open_loop(toy_server, toy.images, [40.0, 120.0], length_s=1.0)
    assert (slow[0], fast[0]) == (40.0, 120.0)
    for offered, summary, spent in (slow, fast):
        assert summary.failed == 0
        # A Poisson count of 40 to 120 has a standard deviation of 6 to 11.
        assert offered * 0.5 < summary.images_per_s + summary.refused_per_s < offered * 1.6
        assert spent.server > 0


def test_a_server_that_cannot_start_says_why(missing_repository: Path) -> None:
    with pytest.raises(ServerFailed, match="no artefact"), serving(missing_repository, "nothing"):
        pass


def test_a_server_is_gone_after_its_block(toy: Subject) -> None:
    with serving(toy.artifacts, toy.model) as server:
        assert 0 < server.ready_s < 60
        assert httpx.post(server.url, content=toy.images[0].read_bytes()).status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(server.url)
