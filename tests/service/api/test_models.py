"""What is told about the model that is served."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest

from service.contract import Certificate, Check, Contract
from tests.service.api.problems import assert_problem
from tests.service.apps import FakeEngine, running
from tests.service.artefacts import contract_of, grey_golden, grey_labels


def test_a_model_shows_its_contract_and_that_it_has_neither_certificate_nor_golden_image(url: str) -> None:
    told = httpx.get(f"{url}/models/brightness").raise_for_status().json()
    assert (told["name"], told["version"], told["provider"]) == ("brightness", "3", "CPUExecutionProvider")
    assert Contract.model_validate(told["contract"]) == contract_of("brightness", grey_labels(), 32)
    assert told["certificate"] is None
    assert told["golden"] == {"status": "absent", "fault": None, "answers": []}


def test_a_model_of_another_name_is_not_found(url: str) -> None:
    detail = assert_problem(httpx.get(f"{url}/models/resnet50"), 404)
    assert detail.endswith("only brightness:3")


def test_the_certificate_and_what_golden_images_were_answered_are_shown() -> None:
    check = Check(batch_size=2, optimized=True, max_difference=1e-7, mean_difference=1e-9, top1_agreement=1.0)
    certificate = Certificate(tolerance=1e-4, checks=(check,))
    engine = FakeEngine()
    golden = grey_golden(5, 5).model_copy(update={"probability": 0.9})
    engine.contract = engine.contract.model_copy(update={"certificate": certificate, "golden": (golden,)})

    async def main() -> None:
        async with running(engine) as (_, client):
            told = (await client.get("/models/fake")).raise_for_status().json()
            assert Certificate.model_validate(told["certificate"]) == certificate
            assert told["golden"]["status"] == "right"
            assert [answer["index"] for answer in told["golden"]["answers"]] == [5]
            assert "certificate" not in told["contract"]  # once is enough

    asyncio.run(main())


def test_while_nothing_is_loaded_there_is_nothing_to_tell() -> None:
    engine = FakeEngine()
    engine.warm = threading.Event()

    async def main() -> None:
        async with running(engine, wait=False) as (_, client):
            assert_problem(await client.get("/models/fake"), 503)
            engine.warm.set()

    asyncio.run(main())


def test_what_is_missing_in_an_artefact_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running(FakeEngine()):
            pass

    asyncio.run(main())
    assert "carries no certificate" in caplog.text
    assert "carries no golden image" in caplog.text
