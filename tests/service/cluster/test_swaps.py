"""Models brought into service and out of it among several processes, while these are asked, and killed."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.service.artefacts import grey_golden, write_brightness
from tests.service.cluster.processes import SHM, Cluster, administered, grey, lives, until
from tests.service.scrapes import Scrape
from tests.service.test_loader import broken

SWAPPED = "is served, and no longer version"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `brightness` is, the default, and `other`."""
    folder = tmp_path_factory.mktemp("swaps")
    write_brightness(folder, 1, shift=1)
    write_brightness(folder, 1, name="other")
    return folder


@pytest.fixture(scope="module")
def here(repository: Path) -> Iterator[Cluster]:
    """Two frontends and an engine for `brightness`; `other` is loaded by who needs it."""
    with administered(repository, "--model", "brightness", "--queue-capacity", "64", "--engine-timeout-s", "2") as here:
        until(lambda: here.service.log.count("ready after") == 2, 10)
        yield here


def newest(repository: Path, name: str = "brightness") -> int:
    return max(int(path.name) for path in (repository / name).iterdir())


def add(repository: Path, *, crop: int = 32) -> int:
    """Write the next version of `brightness`, which answers a grey shifted by its number."""
    version = newest(repository) + 1
    write_brightness(repository, version, crop=crop, shift=version)
    return version


@contextmanager
def refused(here: Cluster, path: Path) -> Iterator[str]:
    """Ask for what is at `path`, a new version that cannot be served; yield why not, and take it away afterwards."""
    served = newest(path.parents[2]) - 1
    try:
        response = change(here, "load")
        assert response.status_code == 422
        assert versions(here) == {served}, "the old one still answers"
        yield response.json()["error"]
    finally:
        path.unlink()
        path.parent.rmdir()


def change(here: Cluster, what: str, name: str = "brightness") -> httpx.Response:
    return here.client.post(f"/v2/repository/models/{name}/{what}")


def versions(here: Cluster, requests: int = 12) -> set[int]:
    """Return which versions answer: each request has a connection of its own, so they are of both frontends."""
    found = set()
    for _ in range(requests):
        answer = here.classify(100).raise_for_status().json()
        found.add(int(answer["model"]["version"]))
        assert answer["predictions"][0]["label"] == f"grey {100 + int(answer['model']['version'])}"
    return found


def arenas(here: Cluster) -> set[str]:
    """Return the arenas that there are, of all that the service ever had."""
    return {name for name in here.arenas() if (SHM / name).exists()}


def attached(pid: int) -> set[str]:
    """Return the arenas that a process has mapped, also those that are gone."""
    return set(re.findall(r"/dev/shm/(resnet-serve-\w+)", Path(f"/proc/{pid}/maps").read_text()))


def mapped(pid: int, path: Path) -> int:
    """Return how many bytes of a file a process has mapped at once, at most."""
    lines = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if line.endswith(f" {path}")]
    ranges = [line.split()[0].split("-") for line in lines]
    return max(int(end, 16) - int(start, 16) for start, end in ranges)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def engines(here: Cluster) -> set[str]:
    """Return the engines that run."""
    return {name for name, pid in here.pids().items() if name.startswith("engine") and lives(pid)}


def test_once_a_load_is_answered_every_frontend_serves_it(here: Cluster, repository: Path) -> None:
    for crop in (32, 48, 8):  # slots of another size each
        version = add(repository, crop=crop)
        assert change(here, "load").json() == {}
        assert versions(here) == {version}
        report = here.client.get("/healthz").json()
        assert (report["status"], report["model"]["version"]) == ("ready", str(version))
        assert here.client.get("/models/brightness").json()["version"] == str(version)
        found = Scrape(here.client.get("/metrics").text)
        assert found.sum("resnet_model_info") == found.get("resnet_ready") == 1
        assert found.get("resnet_predictions_total", model="brightness", version=str(version)) == 12
        (stats,) = here.client.get("/v2/models/stats").json()["model_stats"]
        assert (stats["version"], stats["inference_count"]) == (str(version), 12)


def test_what_was_swapped_leaves_nothing_behind(here: Cluster, repository: Path) -> None:
    folder, pids = here.traces()[1], [here.service.pid, here.pid("frontend-0"), here.pid("frontend-1")]

    def settled() -> bool:
        kept = (
            len(engines(here)),
            len(arenas(here)),
            *(len(list(folder.glob(f"{it}-*"))) for it in ("engine", "artefact")),
        )
        return kept == (1,) * 4 and all(len(attached(pid)) == 1 for pid in pids)

    def held() -> list[float]:
        lanes = Scrape(here.client.get("/metrics").text).get("resnet_engine_lanes")
        return [*map(descriptors, pids), (folder / "metrics").stat().st_size, lanes]

    def all_have_seen_the_ledger_grow() -> bool:  # who is asked for metrics maps what is new of it, and keeps that
        httpx.get(f"{here.service.url}/metrics", headers=here.client.headers, trust_env=False).raise_for_status()
        size = (folder / "metrics").stat().st_size
        return all(mapped(pid, folder / "metrics") >= size for pid in pids)

    add(repository)
    change(here, "load").raise_for_status()
    until(settled, 10)
    until(all_have_seen_the_ledger_grow, 10)
    before = held()
    for _ in range(4):
        version = add(repository)
        change(here, "load").raise_for_status()
        assert versions(here) == {version}
        until(settled, 10)  # else the next engine needs another row than the one that is about to be free
    until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)), 10)


def test_a_load_that_fails_leaves_the_old_one_and_says_why(here: Cluster, repository: Path) -> None:
    served = newest(repository)
    path = broken(repository, served + 1)
    with refused(here, path) as why:
        assert f"brightness cannot be served: {path} cannot be loaded" in why
        states = {each["version"]: each for each in here.client.post("/v2/repository/index").json()}
        assert states[str(served)]["state"] == "READY"
        assert states[str(served + 1)]["state"] == "UNAVAILABLE"
        assert str(path) in states[str(served + 1)]["reason"]
        assert why in here.service.log
        until(lambda: len(engines(here)) == len(arenas(here)) == 1, 10)


def test_what_does_not_come_out_right_here_does_not_take_over(here: Cluster, repository: Path) -> None:
    path = write_brightness(repository, newest(repository) + 1, golden=(grey_golden(3, 200),))
    restarts = Scrape(here.client.get("/metrics").text).get("resnet_process_restarts_total", process="engine")
    with refused(here, path) as why:
        assert "does not compute what was exported" in why
    until(lambda: len(engines(here)) == len(arenas(here)) == 1, 10)
    found = Scrape(here.client.get("/metrics").text)
    assert found.get("resnet_process_restarts_total", process="engine") == restarts, "nobody died, or was replaced"


def test_who_waits_for_what_is_unloaded_is_answered(here: Cluster) -> None:
    change(here, "load", "other").raise_for_status()
    name = f"engine-{max(int(name.partition('-')[2]) for name in engines(here))}"
    pid = here.kill(name, signal.SIGSTOP)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(here.client.post, "/classify?model=other", content=grey(level)) for level in range(8)]
        try:
            until(lambda: Scrape(here.client.get("/metrics").text).get("resnet_slots", state="used") == 8, 10)
            assert change(here, "unload", "other").status_code == 200
            assert all(here.client.post("/classify?model=other", content=b"").status_code == 404 for _ in range(8))
            assert not any(each.done() for each in waiting)
        finally:
            here.kill(name, signal.SIGCONT)
        answers = [each.result() for each in waiting]
    assert [each.json()["predictions"][0]["label"] for each in answers] == [f"grey {level}" for level in range(8)]
    until(lambda: not lives(pid) and len(arenas(here)) == 1, 10)
    assert change(here, "unload", "other").status_code == 404
    assert change(here, "unload").status_code == 400


def test_whoever_is_killed_in_the_middle_of_a_swap_comes_back_with_what_is_served(
    here: Cluster, repository: Path
) -> None:
    old = newest(repository)
    before, version = set(here.pids()), add(repository)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(change, here, "load")
        until(lambda: set(here.pids()) - before, 10)
        (engine,) = set(here.pids()) - before
        first = here.kill(engine)
        until(lambda: here.pid(engine) != first, 10)
        here.kill(engine, signal.SIGSTOP)  # so that the swap lasts
        states = {each["version"]: each["state"] for each in here.client.post("/v2/repository/index").json()}
        assert states[str(version)] == "LOADING"
        for frontend in ("frontend-0", "frontend-1"):
            if not loading.done():  # the connection that asked breaks with its frontend
                pid = here.kill(frontend)
                until(lambda pid=pid, frontend=frontend: here.pid(frontend) != pid, 10)  # type: ignore[misc]
        until(here.ready, 10)
        assert versions(here) == {old}
        here.kill(engine, signal.SIGCONT)
        until(lambda: versions(here, 4) == {version}, 10)
        assert isinstance(loading.exception(), httpx.TransportError)
    until(lambda: len(engines(here)) == len(arenas(here)) == 1, 10)
    assert versions(here) == {version}


@pytest.mark.slow  # as long as standing still is put up with
def test_after_a_swap_who_stands_still_is_found_out(here: Cluster, repository: Path) -> None:
    pid = here.kill("frontend-1", signal.SIGSTOP)
    add(repository)
    # The change waits for the one that stands still, until that is replaced.
    started_s = time.monotonic()
    with httpx.Client(base_url=here.service.url, headers=here.client.headers, timeout=2, trust_env=False) as client:
        while True:  # a connection may be that frontend's to accept
            try:
                client.post("/v2/repository/models/brightness/load").raise_for_status()
                break
            except httpx.TransportError:
                assert time.monotonic() < started_s + 20
    until(lambda: here.pid("frontend-1") != pid, 10)
    assert versions(here) == {newest(repository)}


def test_a_swap_that_has_no_room_changes_nothing(here: Cluster, repository: Path) -> None:
    path = write_brightness(repository, newest(repository) + 1, crop=20_000)  # a slot takes more than a gigabyte
    with refused(here, path) as why:
        assert "/dev/shm is too small for" in why


@pytest.mark.slow  # a start of its own, and as long as a stop may take
def test_a_stop_in_the_middle_of_a_swap_ends_all_of_it(tmp_path: Path) -> None:
    write_brightness(tmp_path, 1)
    with administered(tmp_path) as here, ThreadPoolExecutor(1) as pool:
        write_brightness(tmp_path, 2)
        loading = pool.submit(change, here, "load")
        until(lambda: "engine-1" in here.pids(), 10)
        here.kill("engine-1", signal.SIGSTOP)
        here.service.process.send_signal(signal.SIGTERM)
        refused = loading.result()
        assert (refused.status_code, refused.json()["error"]) == (503, "the service is shutting down")
        assert here.service.process.wait(timeout=10) == 0
        assert "Traceback" not in here.service.log
