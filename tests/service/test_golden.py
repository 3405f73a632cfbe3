"""Golden images: what comes out wrong on this machine is found out at load, and answers nobody."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from service.contract import BLOCKS, Golden
from service.engine.cpu import CpuEngine
from service.golden import examine, image_of
from tests.project.serving import free_port
from tests.service.api.greys import grey
from tests.service.api.problems import assert_problem
from tests.service.artefacts import contract_of, grey_golden, grey_labels, write_brightness
from tests.service.serving import MAINLY_SEVERAL, READY_WITHIN_S, starting


def engine(tmp_path: Path, *golden: Golden) -> CpuEngine:
    return CpuEngine(write_brightness(tmp_path, golden=golden))


def test_the_image_is_filled_block_by_block_whatever_its_side() -> None:
    colours = tuple((row * 10, column * 10, 7) for row in range(BLOCKS) for column in range(BLOCKS))
    golden = Golden(blocks=colours, top1=0, probability=1, tolerance=0)
    for side in (BLOCKS, 50, 224):
        image = image_of(golden, side)
        assert (image.shape, image.dtype) == ((side, side, 3), np.uint8)
        for y, x in ((0, 0), (0, side - 1), (side // 2, side // 3), (side - 1, side - 1)):
            assert image[y, x].tolist() == [y * BLOCKS // side * 10, x * BLOCKS // side * 10, 7]


def test_what_comes_out_right_has_no_fault_and_shows_its_answers(tmp_path: Path) -> None:
    result = examine(engine(tmp_path, grey_golden(100, 100), grey_golden(7, 7)))
    assert result.fault is None
    assert [(answer.index, answer.right) for answer in result.answers] == [(100, True), (7, True)]
    assert [answer.probability for answer in result.answers] == pytest.approx([0.5642, 0.5642], abs=1e-3)


def test_another_class_or_another_probability_is_a_fault_that_says_what_came_out(tmp_path: Path) -> None:
    result = examine(engine(tmp_path, grey_golden(100, 100), grey_golden(7, 8)))
    assert [answer.right for answer in result.answers] == [True, False]
    assert result.fault is not None
    assert "CPUExecutionProvider does not compute what was exported" in result.fault
    assert "'grey 8'" in result.fault
    assert "puts 'grey 7' first" in result.fault
    unsure = grey_golden(9, 9).model_copy(update={"probability": 0.5})
    assert examine(engine(tmp_path / "unsure", unsure)).fault is not None


def test_an_answer_that_is_no_number_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = engine(tmp_path, grey_golden(0, 0))
    monkeypatch.setattr(loaded, "infer", lambda images, wide: np.full((1, 256), np.nan, np.float32))
    assert examine(loaded).fault is not None


def test_an_artefact_without_golden_images_is_not_examined(tmp_path: Path) -> None:
    result = examine(engine(tmp_path))
    assert (result.answers, result.fault) == ((), None)


def test_a_golden_image_of_no_class_is_no_contract() -> None:
    contract = contract_of("brightness", grey_labels(), 8)
    with pytest.raises(ValidationError, match="there is none of"):
        contract.model_validate({**contract.model_dump(), "golden": [grey_golden(0, 256).model_dump()]})


@pytest.mark.parametrize("shape", MAINLY_SEVERAL)
def test_a_service_that_does_not_compute_what_was_exported_stays_and_says_so(
    shape: tuple[str, ...], tmp_path: Path
) -> None:
    write_brightness(tmp_path, golden=(grey_golden(3, 200),))
    port = free_port()
    with starting(tmp_path, *shape, port=port) as service:
        url, limit_s = f"http://127.0.0.1:{port}", time.monotonic() + READY_WITHIN_S
        while (report := asked(f"{url}/readyz")) is None or report.json()["status"] == "starting":
            assert time.monotonic() < limit_s, service.log
            assert service.process.poll() is None, service.log
            time.sleep(0.05)
        assert report.status_code == 503
        assert report.json()["status"] == "failed"
        assert "puts 'grey 3' first" in report.json()["reason"]
        assert httpx.get(f"{url}/livez").status_code == 200
        assert "puts 'grey 3' first" in service.log
        assert "Serving" not in service.log
        assert "puts 'grey 3' first" in assert_problem(httpx.post(f"{url}/classify", content=grey(1)), 503)
        told = httpx.get(f"{url}/models/brightness").raise_for_status().json()
        assert (told["golden"]["status"], told["golden"]["answers"][0]["index"]) == ("wrong", 3)


def asked(url: str) -> httpx.Response | None:
    try:
        return httpx.get(url)
    except httpx.TransportError:
        return None
