"""service.engine: real artefacts in ONNX Runtime, as the contract promises or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from service.contract import ContractError
from service.engine import CPU, CUDA, EngineError, OrtEngine, _buckets
from tests.service.artefacts import write_brightness


def greys(levels: list[int]) -> list[np.ndarray]:
    return [np.full((32, 32, 3), level, np.uint8) for level in levels]


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return write_brightness(tmp_path)


@pytest.mark.parametrize("wide", [False, True])
def test_answers_each_image_in_its_own_row(artefact: Path, wide: bool) -> None:
    engine = OrtEngine(artefact, provider="cpu")
    rows = engine.infer(greys([7, 250, 31]), wide=wide)
    assert rows.shape == (3, 256)
    assert rows.dtype == np.float32
    assert rows.argmax(1).tolist() == [7, 250, 31]
    assert rows.sum(1) == pytest.approx(1, abs=1e-5)


def test_reports_the_provider_in_use(artefact: Path) -> None:
    expected = CUDA if CUDA in ort.get_available_providers() else CPU
    assert OrtEngine(artefact, provider="auto").provider == expected


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="CUDA may work here")
def test_cuda_insisted_on_where_it_is_not_says_why(artefact: Path) -> None:
    with pytest.raises(EngineError, match=r"CUDA does not work here: .*built for"):
        OrtEngine(artefact, provider="cuda")


def test_warm_up_measures_growing_batches(artefact: Path) -> None:
    seconds = OrtEngine(artefact, provider="cpu").warm_up(32)
    assert list(seconds) == [1, 2, 4, 8][: len(seconds)]
    assert len(seconds) >= 2
    assert all(cost > 0 for cost in seconds.values())


def test_warm_up_never_exceeds_the_largest_batch(artefact: Path) -> None:
    assert max(OrtEngine(artefact, provider="cpu").warm_up(2)) <= 2


@pytest.mark.parametrize(("largest", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_buckets_end_with_the_largest(largest: int, sizes: list[int]) -> None:
    assert _buckets(largest) == sizes


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(EngineError, match="cannot be loaded"):
        OrtEngine(path, provider="cpu")


def test_a_truncated_artefact_is_refused(artefact: Path) -> None:
    artefact.write_bytes(artefact.read_bytes()[:-100])
    with pytest.raises((EngineError, ContractError)):
        OrtEngine(artefact, provider="cpu")


def test_an_artefact_without_a_contract_is_refused(artefact: Path) -> None:
    model = onnx.load(artefact)
    del model.metadata_props[:]
    onnx.save(model, artefact)
    with pytest.raises(ContractError, match="no contract"):
        OrtEngine(artefact, provider="cpu")


def test_a_contract_that_its_graph_contradicts_is_refused(artefact: Path) -> None:
    model = onnx.load(artefact)
    for entry in model.metadata_props:
        entry.value = entry.value.replace('"crop":32', '"crop":16')
    onnx.save(model, artefact)
    with pytest.raises(ContractError, match="promises image uint8"):
        OrtEngine(artefact, provider="cpu")
