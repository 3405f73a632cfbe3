"""Bringing models into service and out of it while requests come in."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from pathlib import Path

import httpx
import pytest

from service import local
from service.app import create_app
from service.errors import BadRequest, NotFound, StartError, Unprocessable
from service.lifecycle import Lifecycle
from service.loader import Loader
from service.metrics import Metrics
from service.model import Model
from service.registry import Registry
from service.repository import Artefact, wanted
from service.settings import Settings
from service.supply import State
from tests.service.api.greys import grey, top
from tests.service.apps import FakeEngine, Gate, eventually, running, soon
from tests.service.artefacts import grey_golden, write_brightness
from tests.service.serving import MAINLY_SEVERAL, serving


def served(lifecycle: Lifecycle) -> list[str]:
    return [f"{model.name}:{model.version}" for model in lifecycle.registry.models]


def broken(repository: Path, version: int, name: str = "brightness") -> Path:
    """Write an artefact that is cut off in the middle."""
    path = write_brightness(repository, version, name=name)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def test_what_is_newer_takes_over_and_what_is_pinned_stays(tmp_path: Path) -> None:
    write_brightness(tmp_path, 1)
    write_brightness(tmp_path, 1, name="pinned")

    async def main() -> None:
        async with running(artifacts=tmp_path, model="brightness,pinned:1") as (app, _):
            write_brightness(tmp_path, 2)
            write_brightness(tmp_path, 2, name="pinned")
            write_brightness(tmp_path, 1, name="another")
            await app.state.lifecycle.loader.look()
            assert served(app.state.lifecycle) == ["brightness:2", "pinned:1"]

    asyncio.run(main())


def test_a_file_that_was_replaced_is_loaded_again(tmp_path: Path) -> None:
    write_brightness(tmp_path, shift=1)

    async def main() -> None:
        async with running(artifacts=tmp_path) as (app, client):
            before = app.state.lifecycle.model
            await app.state.lifecycle.loader.look()
            assert app.state.lifecycle.model is before
            write_brightness(tmp_path, shift=7)
            await app.state.lifecycle.loader.look()
            answer = (await client.post("/classify", content=grey(100))).json()
            assert top(answer["predictions"]) == 107

    asyncio.run(main())


def test_a_new_name_is_served_where_every_name_is_and_one_that_is_gone_stays(tmp_path: Path) -> None:
    gone = write_brightness(tmp_path)

    async def main() -> None:
        async with running(artifacts=tmp_path, model="*") as (app, _):
            write_brightness(tmp_path, 5, name="another")
            gone.unlink()
            await app.state.lifecycle.loader.look()
            assert served(app.state.lifecycle) == ["brightness:1", "another:5"]

    asyncio.run(main())


def test_what_cannot_be_loaded_changes_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_brightness(tmp_path, 1)

    async def main() -> None:
        async with running(artifacts=tmp_path) as (app, client):
            loader = app.state.lifecycle.loader
            broken(tmp_path, 2)
            for _ in range(3):
                await loader.look()
            assert caplog.text.count("brightness:2 cannot be served; what was served still is") == 1
            ready, failed = await loader.states()
            assert ready == State("brightness", 1, "READY")
            assert (failed.version, failed.state) == (2, "UNAVAILABLE")
            assert "cannot be loaded" in failed.reason
            assert (await client.post("/classify", content=grey(1))).json()["model"]["version"] == "1"
            write_brightness(tmp_path, 2)  # mended: another file
            await loader.look()
            assert served(app.state.lifecycle) == ["brightness:2"]
            assert await loader.states() == [
                State("brightness", 1, "UNAVAILABLE", "not loaded"),
                State("brightness", 2, "READY"),
            ]

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())


def test_what_does_not_come_out_right_here_does_not_take_over(tmp_path: Path) -> None:
    write_brightness(tmp_path, 1)

    async def main() -> None:
        async with running(artifacts=tmp_path) as (app, client):
            write_brightness(tmp_path, 2, golden=(grey_golden(3, 200),))
            await app.state.lifecycle.loader.look()
            assert (await client.get("/readyz")).json()["model"]["version"] == "1"
            assert "does not compute what was exported" in (await app.state.lifecycle.loader.states())[1].reason

    asyncio.run(main())


def test_a_model_that_cannot_be_loaded_at_the_start_stops_the_start(tmp_path: Path) -> None:
    write_brightness(tmp_path, 1)
    broken(tmp_path, 1, name="other")

    async def main() -> None:
        async with running(artifacts=tmp_path, model="brightness,other", wait=False) as (app, _):
            assert await app.state.lifecycle.loaded() is None
            assert app.state.lifecycle.phase == "failed"

    asyncio.run(main())


class Gated:
    """Builds models whose engines answer when `gates` of their version are opened."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.gates = {version: Gate() for version in (1, 2)}
        self.engines: list[FakeEngine] = []

    async def build(self, artefact: Artefact) -> Model:
        engine = FakeEngine(self.gates[artefact.version])
        self.engines.append(engine)
        return await local.Builder(self._settings, Metrics(), engine).build(artefact)

    def close(self) -> None:
        pass


def test_who_waits_for_the_old_model_is_answered_by_it_after_the_new_one_has_taken_over(tmp_path: Path) -> None:
    write_brightness(tmp_path, 1)
    settings = Settings(artifacts=tmp_path, decode_threads=1)
    builder = Gated(settings)

    async def main() -> None:
        registry: Registry[Model] = Registry()
        loader = Loader(settings, lambda: wanted(tmp_path, None), registry, builder)
        lifecycle = Lifecycle(registry, loader)
        app = create_app(settings, lifecycle=lifecycle)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://x") as client,
        ):
            old = await lifecycle.loaded()
            assert old is not None
            calls = [asyncio.create_task(client.post("/classify", content=grey(level))) for level in range(20)]
            await soon(lambda: old.backend.depth + sum(builder.engines[0].batches) == 20)
            write_brightness(tmp_path, 2)
            await loader.look()
            builder.gates[2].opened.set()
            assert (await client.post("/classify", content=grey(1))).json()["model"]["version"] == "2"
            assert not any(call.done() for call in calls)
            builder.gates[1].opened.set()
            answers = [response.raise_for_status().json() for response in await asyncio.gather(*calls)]
            assert [top(answer["predictions"]) for answer in answers] == list(range(20))
            assert {answer["model"]["version"] for answer in answers} == {"1"}

    asyncio.run(main())


def test_who_waits_for_anothers_computation_is_answered_when_that_one_has_hung_up_after_a_swap(tmp_path: Path) -> None:
    write_brightness(tmp_path, 1)
    settings = Settings(artifacts=tmp_path, decode_threads=1, cache_entries=8)
    builder, registry = Gated(settings), Registry[Model]()
    loader = Loader(settings, lambda: wanted(tmp_path, None), registry, builder)

    async def main() -> None:
        await loader.start()
        old = registry.find()
        computing, waiting = (asyncio.create_task(old.classify(grey(7))) for _ in range(2))
        await soon(lambda: builder.engines[0].batches == [1])
        write_brightness(tmp_path, 2)
        await loader.look()
        computing.cancel()
        builder.gates[1].opened.set()
        row, _ = await waiting
        assert row.argmax() == 7
        await loader.close()

    asyncio.run(main())


def test_loading_and_unloading_on_request(tmp_path: Path) -> None:
    write_brightness(tmp_path, 1)
    for version in (1, 2):
        write_brightness(tmp_path, version, name="other")

    async def main() -> None:
        async with running(artifacts=tmp_path, model="brightness,other:1") as (app, _):
            lifecycle, loader = app.state.lifecycle, app.state.lifecycle.loader
            for name in ("nobody", "*", "brightness,other", "../brightness", "other:1", ""):
                with pytest.raises(NotFound):
                    await loader.load(name)
                with pytest.raises(NotFound):
                    await loader.unload(name)
            with pytest.raises(BadRequest, match="default"):
                await loader.unload("brightness")
            await loader.unload("other")
            await loader.look()
            assert served(lifecycle) == ["brightness:1"]
            with pytest.raises(NotFound):
                await loader.unload("other")
            await loader.load("other")
            assert served(lifecycle) == ["brightness:1", "other:1"]  # pinned, as before
            write_brightness(tmp_path, 1, name="new")
            await loader.load("new")
            write_brightness(tmp_path, 4, name="new")
            await loader.load("new")
            assert served(lifecycle) == ["brightness:1", "other:1", "new:4"]
            broken(tmp_path, 5, name="new")
            with pytest.raises(Unprocessable, match="new cannot be served"):
                await loader.load("new")
            assert served(lifecycle) == ["brightness:1", "other:1", "new:4"]

    asyncio.run(main())


def test_a_model_that_was_unloaded_gives_its_memory_and_threads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[weakref.ref[object]] = []
    load = local.load

    def watched(*arguments: object) -> object:
        engine = load(*arguments)  # type: ignore[arg-type]
        engines.append(weakref.ref(engine))
        return engine

    monkeypatch.setattr(local, "load", watched)
    write_brightness(tmp_path)
    write_brightness(tmp_path, name="other")

    async def main(decode_threads: int) -> None:
        engines.clear()
        options = {"artifacts": tmp_path, "model": "brightness,other", "decode_threads": decode_threads}
        async with running(**options) as (app, client):  # type: ignore[arg-type]
            threads = threading.active_count()
            for _ in range(3):
                for query in ("?model=other", ""):
                    assert (await client.post(f"/classify{query}", content=grey(1))).status_code == 200
                await app.state.lifecycle.loader.unload("other")
                await app.state.lifecycle.loader.load("other")
            await soon(lambda: gc.collect() >= 0 and sum(engine() is not None for engine in engines) == 2)
            assert len(engines) == 5
            assert threading.active_count() <= threads + 8  # and not six for each that was loaded
        assert eventually(lambda: threading.active_count() <= threads)

    for decode_threads in (0, 1):
        asyncio.run(main(decode_threads))


@pytest.mark.parametrize("shape", MAINLY_SEVERAL)
def test_a_server_that_watches_swaps_under_load_without_losing_a_request(
    shape: tuple[str, ...], tmp_path: Path
) -> None:
    write_brightness(tmp_path, 1, shift=1)
    last = 3

    async def caller(url: str, versions: list[int]) -> None:
        async with httpx.AsyncClient() as client:  # one connection, so one process for HTTP
            while not versions or versions[-1] < last:
                response = await client.post(f"{url}/classify", content=grey(100))
                answer = response.raise_for_status().json()
                versions.append(int(answer["model"]["version"]))
                assert top(answer["predictions"]) == 100 + versions[-1]

    async def main(url: str) -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            seen: list[list[int]] = [[] for _ in range(8)]
            for versions in seen:
                group.create_task(caller(url, versions))
            for version in range(2, last + 1):
                await soon(lambda: all(version - 1 in versions for versions in seen), 20)  # noqa: B023 - called now
                write_brightness(tmp_path, version, shift=version)
        assert all(versions == sorted(versions) for versions in seen)  # once swapped, nobody sees the old one

    with serving(tmp_path, "--repository-poll-s", "0.05", *shape) as service:
        asyncio.run(main(service.url))


def test_what_a_start_cannot_find_is_said(tmp_path: Path) -> None:
    write_brightness(tmp_path)

    async def main() -> None:
        app = create_app(Settings(artifacts=tmp_path, model="brightness,brightness:9"))
        with pytest.raises(StartError, match="no version '9'"):
            await app.state.lifecycle.loader.start()

    asyncio.run(main())
