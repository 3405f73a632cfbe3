"""service.engine.choice, cpu, sessions: real artefacts in ONNX Runtime, as the contract promises or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from service.contract import ContractError
from service.engine import CPU, CUDA, TENSORRT, EngineError, Tuning, open_engine
from service.engine.choice import session_on_card
from service.engine.device import CudaDevice
from service.engine.interface import buckets
from service.engine.sessions import cuda_options, session, tensorrt_options
from tests.service.artefacts import write_brightness


def greys(levels: list[int]) -> list[np.ndarray]:
    return [np.full((32, 32, 3), level, np.uint8) for level in levels]


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return write_brightness(tmp_path)


@pytest.mark.parametrize("wide", [False, True])
def test_answers_each_image_in_its_own_row(artefact: Path, wide: bool) -> None:
    engine = open_engine(artefact, provider="cpu")
    rows = engine.infer(greys([7, 250, 31]), wide=wide)
    assert rows.shape == (3, 256)
    assert rows.dtype == np.float32
    assert rows.argmax(1).tolist() == [7, 250, 31]
    assert rows.sum(1) == pytest.approx(1, abs=1e-5)


def test_reports_the_provider_in_use(artefact: Path) -> None:
    try:
        CudaDevice(0)
        expected = CUDA
    except EngineError:  # also where ONNX Runtime would know what to do with one
        expected = CPU
    assert open_engine(artefact, provider="auto").provider == expected


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="CUDA may work here")
def test_cuda_insisted_on_where_it_is_not_says_why(artefact: Path) -> None:
    with pytest.raises(EngineError, match=r"CUDA does not work here: .*built for"):
        open_engine(artefact, provider="cuda")


def test_warm_up_measures_growing_batches(artefact: Path) -> None:
    seconds = open_engine(artefact, provider="cpu").warm_up(32)
    assert list(seconds) == [1, 2, 4, 8][: len(seconds)]
    assert len(seconds) >= 2
    assert all(cost > 0 for cost in seconds.values())


def test_warm_up_never_exceeds_the_largest_batch(artefact: Path) -> None:
    assert max(open_engine(artefact, provider="cpu").warm_up(2)) <= 2


@pytest.mark.parametrize(("largest", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_buckets_end_with_the_largest(largest: int, sizes: list[int]) -> None:
    assert buckets(largest) == sizes


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(EngineError, match="cannot be loaded"):
        open_engine(path, provider="cpu")


def test_a_truncated_artefact_is_refused(artefact: Path) -> None:
    artefact.write_bytes(artefact.read_bytes()[:-100])
    with pytest.raises((EngineError, ContractError)):
        open_engine(artefact, provider="cpu")


def test_an_artefact_without_a_contract_is_refused(artefact: Path) -> None:
    model = onnx.load(artefact)
    del model.metadata_props[:]
    onnx.save(model, artefact)
    with pytest.raises(ContractError, match="no contract"):
        open_engine(artefact, provider="cpu")


def test_a_contract_that_its_graph_contradicts_is_refused(artefact: Path) -> None:
    model = onnx.load(artefact)
    for entry in model.metadata_props:
        entry.value = entry.value.replace('"crop":32', '"crop":16')
    onnx.save(model, artefact)
    with pytest.raises(ContractError, match="promises image uint8"):
        open_engine(artefact, provider="cpu")


def test_what_a_provider_refuses_is_said_and_no_other_takes_its_place(
    artefact: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EngineError, match=r"cannot be loaded: .*tuples"):
        session(artefact, [(CPU, "no options")], 1)
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(TENSORRT in ort.get_available_providers(), reason="TensorRT may work here")
def test_tensorrt_insisted_on_where_it_is_not_says_why(artefact: Path) -> None:
    with pytest.raises(EngineError, match=r"--provider tensorrt, but TensorRT does not work here: .*built for"):
        open_engine(artefact, provider="tensorrt")


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="CUDA may work here")
def test_a_session_on_a_card_is_made_only_where_its_libraries_are(artefact: Path) -> None:
    contract = open_engine(artefact, provider="cpu").contract
    with pytest.raises(EngineError, match="built for"):
        session_on_card(artefact, contract, CUDA, 0, 8, Tuning(), 0)


def test_tensorrt_without_its_libraries_says_what_to_install(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    with pytest.raises(EngineError, match=r"libnvinfer\.so\.10.*install 'tensorrt-cu13<11'"):
        open_engine(artefact, provider="tensorrt")


@pytest.fixture
def said_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime says that it knows CUDA, as its GPU build does also where there is no card."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])


@pytest.mark.usefixtures("said_to_be_there")
def test_cuda_without_a_card_is_the_cpu_unless_it_is_insisted_on(
    artefact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EngineError, match=r"CUDA does not work here: (cuda-bindings|CUDA device 0|there is no CUDA)"):
        open_engine(artefact, provider="cuda")
    caplog.set_level("INFO")
    assert open_engine(artefact, provider="auto").provider == CPU
    assert "no CUDA: " in caplog.text


@pytest.mark.usefixtures("said_to_be_there")
def test_a_file_at_fault_is_not_taken_for_a_missing_card(artefact: Path) -> None:
    artefact.write_bytes(b"not a network")
    with pytest.raises(EngineError, match="cannot be loaded"):
        open_engine(artefact, provider="auto")


def test_options_follow_the_artefact_and_the_user(artefact: Path) -> None:
    contract = open_engine(artefact, provider="cpu").contract
    half = contract.model_copy(update={"precision": "fp16"})
    tuning = Tuning(memory_mib=3, graphs=None, options={"use_tf32": "1"})
    options = cuda_options(1, 0xABC, tuning, 2, half)
    assert options["device_id"] == "1"
    assert options["user_compute_stream"] == str(0xABC)
    assert options["gpu_mem_limit"] == str(3 * 2**20 // 2)
    assert options["prefer_nhwc"] == options["enable_cuda_graph"] == options["use_tf32"] == "1"
    plain = cuda_options(0, 0, Tuning(), 2, contract)
    assert plain["prefer_nhwc"] == plain["enable_cuda_graph"] == plain["use_tf32"] == "0"
    assert "gpu_mem_limit" not in plain


def test_tensorrt_builds_for_every_batch_size_and_keeps_what_it_built(artefact: Path, tmp_path: Path) -> None:
    contract = open_engine(artefact, provider="cpu").contract
    options = tensorrt_options(0, 7, Tuning(tensorrt_cache=tmp_path), contract, 16)
    assert options["trt_profile_min_shapes"] == "image:1x32x32x3,preprocess.transpose:1x3x32x32"
    assert options["trt_profile_max_shapes"] == "image:16x32x32x3,preprocess.transpose:16x3x32x32"
    assert options["trt_op_types_to_exclude"].split(",")[-1] == "Transpose", "bytes are all that it would be given"
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "True"
    assert options["trt_engine_cache_path"] == str(tmp_path)
    assert "trt_engine_cache_path" not in tensorrt_options(0, 7, Tuning(), contract, 16)
    golden = contract.model_copy(update={"golden": [contract.golden] * 3})
    assert tensorrt_options(0, 7, Tuning(), golden, 1)["trt_profile_max_shapes"].startswith("image:4x"), (
        "asked together"
    )
    for precision in ("fp32", "fp16", "int8"):  # "1" is refused, by the provider but for its precision
        made = tensorrt_options(0, 7, Tuning(), contract.model_copy(update={"precision": precision}), 16)
        assert (made["trt_fp16_enable"], made["trt_int8_enable"]) == (
            str(precision == "fp16"),
            str(precision == "int8"),
        )
