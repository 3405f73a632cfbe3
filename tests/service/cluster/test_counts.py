"""Metrics of several processes: any frontend answers for all, and no death loses a count or counts twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.service.cluster.processes import Cluster, cluster, grey, until
from tests.service.scrapes import Scrape


def scrape(here: Cluster) -> Scrape:
    return Scrape(here.client.get("/metrics").text)


def answered(found: Scrape) -> float:
    return found.get("resnet_requests_total", endpoint="/classify", outcome="answered")


def classify(here: Cluster, requests: int) -> None:
    for level in range(requests):
        assert here.classify(level).status_code == 200


def test_counts_are_exact_while_frontends_and_engines_are_killed(artifacts: Path) -> None:
    with cluster(artifacts, "--queue-capacity", "64") as here:
        classify(here, 40)
        for name in ("frontend-0", "frontend-1", "engine-0"):
            pid = here.kill(name, signal.SIGKILL)
            until(lambda pid=pid, name=name: here.pid(name) != pid and here.ready(), 20)  # type: ignore[misc]
        # Until every frontend answers, not only the one that was asked: a new one is not there at once.
        until(lambda: "frontend-1" in here.pids() and all(here.ready() for _ in range(4)), 20)
        classify(here, 30)
        found = scrape(here)
    assert answered(found) == 70
    assert found.get("resnet_predictions_total", model="brightness", version="3") == 70
    assert found.get("resnet_batch_images_sum") == 70, "an engine's counts outlive it too"
    assert found.get("resnet_request_duration_seconds_count", endpoint="/classify") == 70
    assert found.get("resnet_process_restarts_total", process="frontend") == 2
    assert found.get("resnet_process_restarts_total", process="engine") == 1
    assert found.get("resnet_requests_in_flight") == 0
    assert found.get("resnet_ready") == 1
    assert found.get("resnet_engine_lanes") >= 1


def test_every_frontend_shows_the_same(here: Cluster) -> None:
    classify(here, 10)
    pages = {scrape(here).text for _ in range(8)}  # a connection each, so of both frontends
    assert len(pages) == 1


def test_slots_are_counted(here: Cluster) -> None:
    found = scrape(here)
    used, free = (found.get("resnet_slots", state=state) for state in ("used", "free"))
    assert used == 0
    assert free > 2 * 64, "two frontends with 64 places each, and the engine's runs"


@pytest.mark.parametrize("endpoint", ["/classify/batch"])
def test_what_is_refused_is_counted_where_it_was(here: Cluster, endpoint: str) -> None:
    before = scrape(here).get("resnet_refused_images_total", reason="undecodable")
    files = [("images", ("a.png", grey(1))), ("images", ("b.png", b"nothing"))]
    assert here.client.post(endpoint, files=files).status_code == 200
    assert scrape(here).get("resnet_refused_images_total", reason="undecodable") == before + 1
