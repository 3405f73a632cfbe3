"""Several models and versions: which one answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.api.greys import grey, in_base64, top, uploads
from tests.service.api.problems import assert_problem
from tests.service.apps import running
from tests.service.artefacts import write_brightness
from tests.service.serving import MAINLY_SEVERAL, serving

# Each artefact answers a grey shifted by its own number, so that the answer says whose it is.
SHIFTS = {("first", "1"): 1, ("first", "2"): 2, ("other", "3"): 3, ("other", "4"): 4}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    for (name, version), shift in SHIFTS.items():
        write_brightness(folder, int(version), crop=8 * shift, name=name, shift=shift)
    return folder


@pytest.fixture(scope="module", params=MAINLY_SEVERAL)
def url(request: pytest.FixtureRequest, repository: Path) -> Iterator[str]:
    """A server with three of the four: the default pinned, the other one in its highest version."""
    with serving(repository, "--model", "first:1,first:2,other", *request.param) as service:
        yield service.url


def who_answered(answer: dict[str, Any], predictions: list[dict[str, Any]], level: int = 100) -> tuple[str, str]:
    """Return the name and version that the answer bears, having checked that it is theirs."""
    who = answer["model"]["name"], answer["model"]["version"]
    assert top(predictions) == level + SHIFTS[who]
    return who


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ("first", "1")),
        ("?model=first", ("first", "1")),
        ("?version=2", ("first", "2")),
        ("?model=first&version=2&top_k=3", ("first", "2")),
        ("?model=other", ("other", "4")),
        ("?model=other&version=4", ("other", "4")),
    ],
)
def test_a_request_is_answered_by_the_model_that_it_names(url: str, query: str, expected: tuple[str, str]) -> None:
    one = httpx.post(f"{url}/classify{query}", content=grey(100)).raise_for_status().json()
    assert who_answered(one, one["predictions"]) == expected
    several = httpx.post(f"{url}/classify/batch{query}", files=uploads(grey(100), grey(100))).raise_for_status().json()
    assert [who_answered(several, result["predictions"]) for result in several["results"]] == [expected] * 2


@pytest.mark.parametrize(
    "query", ["model=third", "model=other&version=3", "version=4", "model=first&version=", "model="]
)
@pytest.mark.parametrize("path", ["/classify", "/classify/batch"])
def test_a_model_that_is_not_served_is_404_with_those_that_are(url: str, path: str, query: str) -> None:
    sent = httpx.post(f"{url}{path}?{query}", json={"image": in_base64(grey(1))})
    assert assert_problem(sent, 404).endswith("only first:1, first:2, other:4")


def test_without_an_order_every_name_is_served_with_the_one_that_was_named_first(repository: Path) -> None:
    async def main() -> list[tuple[str, str]]:
        async with running(artifacts=repository, model="other:3,*") as (_, client):
            found = []
            for query in ("", "?model=first"):
                answer = (await client.post(f"/classify{query}", content=grey(100))).raise_for_status().json()
                found.append(who_answered(answer, answer["predictions"]))
            return found

    assert asyncio.run(main()) == [("other", "3"), ("first", "2")]


def test_a_model_goes_by_the_name_of_its_folder(tmp_path: Path) -> None:
    path = write_brightness(tmp_path, name="exported")
    path.parent.parent.rename(tmp_path / "renamed")

    async def main() -> dict[str, Any]:
        async with running(artifacts=tmp_path) as (_, client):
            model: dict[str, Any] = (await client.post("/classify?model=renamed", content=grey(1))).json()["model"]
            return model

    assert asyncio.run(main())["name"] == "renamed"


def test_a_body_that_arrives_while_the_model_is_swapped_is_answered_by_the_new_one(tmp_path: Path) -> None:
    write_brightness(tmp_path, 1, name="first", shift=1)

    async def main() -> tuple[str, str]:
        async with running(artifacts=tmp_path) as (app, client):
            body = grey(100)

            async def slowly() -> AsyncIterator[bytes]:
                yield body[:20]
                write_brightness(tmp_path, 2, name="first", shift=2)
                await app.state.lifecycle.loader.look()
                yield body[20:]

            answer = (await client.post("/classify", content=slowly())).raise_for_status().json()
            return who_answered(answer, answer["predictions"])

    assert asyncio.run(main()) == ("first", "2")
