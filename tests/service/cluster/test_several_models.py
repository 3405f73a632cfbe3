"""Several models among several processes: each has engines of its own, and what befalls them is no other's matter."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.api.greys import top
from tests.service.artefacts import write_brightness
from tests.service.cluster.processes import Cluster, cluster, grey, until
from tests.service.scrapes import Scrape

CAPACITY = 32


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two frontends, and an engine process for each of two models whose images differ in size."""
    repository = tmp_path_factory.mktemp("several")
    write_brightness(repository, 1, crop=16, name="first", shift=1)
    write_brightness(repository, 2, crop=48, name="other", shift=2)
    limits = ("--queue-capacity", str(CAPACITY), "--max-images-per-request", "8")
    # Named twice: with its version, and as the highest. It is served once.
    with cluster(repository, "--model", "first:1,first,other", *limits) as running:
        yield running


def ask(here: Cluster, model: str, level: int = 100) -> int:
    """Return which grey a model took an image for."""
    answer = here.client.post(f"/classify?model={model}", content=grey(level)).raise_for_status().json()
    assert answer["model"]["name"] == model
    return top(answer["predictions"])


def stats(here: Cluster) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in here.client.get("/v2/models/stats").json()["model_stats"]}


def test_each_is_answered_by_an_engine_of_its_own_and_counted_by_itself(here: Cluster) -> None:
    assert set(here.pids()) == {"engine-0", "engine-1", "frontend-0", "frontend-1"}
    before = stats(here)
    for level in range(100, 110):
        assert ask(here, "first", level) == level + 1
    for level in range(100, 105):
        assert ask(here, "other", level) == level + 2
    after = stats(here)
    new = {name: after[name]["inference_count"] - before[name]["inference_count"] for name in after}
    assert new == {"first": 10, "other": 5}
    found = Scrape(here.client.get("/metrics").text)
    assert found.get("resnet_queue_capacity_images") == 2 * CAPACITY
    assert found.sum("resnet_model_info") == 2
    assert found.get("resnet_slots", state="used") == 0
    assert found.get("resnet_slots", state="free") > 2 * 2 * CAPACITY, "for each model, in each frontend"


def test_while_the_engine_of_one_stands_still_or_is_replaced_the_other_answers(here: Cluster) -> None:
    pid = here.kill("engine-1", signal.SIGSTOP)  # dead, it would be replaced too fast to be seen missing
    try:
        assert ask(here, "first") == 101
        assert here.client.get("/v2/models/first/ready").status_code == 200
    finally:
        here.kill("engine-1", signal.SIGKILL)
    until(lambda: here.pid("engine-1") != pid and here.ready(), 20)
    until(lambda: ask(here, "other") == 102, 20)
    assert ask(here, "first") == 101


def test_a_frontend_that_takes_anothers_place_knows_all_models(here: Cluster) -> None:
    for name in ("frontend-0", "frontend-1"):
        pid = here.kill(name)
        until(lambda pid=pid, name=name: here.pid(name) != pid and here.ready(), 20)  # type: ignore[misc]
    for _ in range(4):  # a connection each, so of both frontends
        assert (ask(here, "first"), ask(here, "other")) == (101, 102)
