from __future__ import annotations

import platform
import warnings
from collections import Counter
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from export.errors import BadInput
from export.to_onnx import OPSET, to_onnx
from service.engine.sessions import TRANSPOSED
from tests.conftest import ROOT
from tests.export.conftest import FULL, Graph, seeded, session, unsettled_vgg

LAST = ("GlobalAveragePool", "Reshape", "Gemm", "Softmax")


def test_pixels_go_in_and_probabilities_come_out_with_any_batch_size(resnet18: Graph) -> None:
    loaded = session(resnet18.serialized)
    inputs = [(node.name, node.type, node.shape) for node in loaded.get_inputs()]
    outputs = [(node.name, node.type, node.shape) for node in loaded.get_outputs()]
    assert inputs == [("image", "tensor(uint8)", ["N", 64, 64, 3])]
    assert outputs == [("probabilities", "tensor(float)", ["N", 10])]


def test_the_graph_has_nothing_but_the_layers_and_bn_is_folded_into_them(resnet18: Graph) -> None:
    ops = Counter(node.op_type for node in resnet18.model.graph.node)
    once = dict.fromkeys(("Transpose", "Cast", "Sub", "Mul", "MaxPool", *LAST), 1)
    assert ops == once | {"Conv": 20, "Relu": 17, "Add": 8}


def test_the_graph_is_of_one_opset_and_carries_its_weights(resnet18: Graph) -> None:
    assert [(entry.domain, entry.version) for entry in resnet18.model.opset_import] == [("", OPSET)]
    assert not any(onnx.external_data_helper.uses_external_data(t) for t in resnet18.model.graph.initializer)
    folded = sum(p.numel() for n, p in resnet18.network.named_parameters() if not is_bn(resnet18.network, n))
    folded += sum(m.num_features for m in resnet18.network.modules() if isinstance(m, nn.BatchNorm2d))  # biases
    assert len(resnet18.serialized) == pytest.approx(4 * folded, rel=1e-3)


def is_bn(network: nn.Module, parameter: str) -> bool:
    return isinstance(network.get_submodule(parameter.rpartition(".")[0]), nn.BatchNorm2d)


def test_nodes_and_weights_are_named_after_the_layers(resnet18: Graph) -> None:
    layers = {n for n, m in resnet18.network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    weighted = {node.name for node in resnet18.model.graph.node if node.op_type in ("Conv", "Gemm")}
    assert weighted == layers
    names = [node.name for node in resnet18.model.graph.node]
    assert len(names) == len(set(names))
    assert [TRANSPOSED] in [list(node.output) for node in resnet18.model.graph.node if node.op_type == "Transpose"]
    assert {"maxpool", "avgpool", "layer1.0.relu", "layer1.0.add", "layer1.0.relu_1", "preprocess.cast"} <= set(names)
    shapes = {tensor.name: list(tensor.dims) for tensor in resnet18.model.graph.initializer}
    for layer in layers:
        weight = resnet18.network.get_submodule(layer).weight
        assert shapes[f"{layer}.weight"] == list(weight.shape)
        assert shapes[f"{layer}.bias"] == [weight.shape[0]]


def test_the_file_tells_nothing_of_the_machine_it_was_made_on(resnet18: Graph) -> None:
    for path in (str(ROOT), "site-packages", str(Path.home())):
        assert path.encode() not in resnet18.serialized


def test_the_same_network_gives_the_same_bytes_and_nothing_is_printed(
    resnet18: Graph, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    warnings.simplefilter("always")
    assert to_onnx(resnet18.network, resnet18.preprocessing).SerializeToString() == resnet18.serialized
    assert [str(warning.message) for warning in recwarn] == []
    assert capfd.readouterr() == ("", "")


def test_the_network_is_left_as_it_was(resnet18: Graph) -> None:
    fresh = seeded("resnet18").state_dict()
    for key, tensor in resnet18.network.state_dict().items():
        assert torch.equal(tensor, fresh[key]), key


@pytest.mark.slow  # another export of three seconds
def test_exporting_what_has_no_blocks_warns_and_prints_nothing_either(
    recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    warnings.simplefilter("always")
    to_onnx(unsettled_vgg(batch_norm=True), FULL)
    assert [str(warning.message) for warning in recwarn] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="ONNX Runtime's blocked layout is for x86")
def test_onnx_runtime_runs_nothing_but_convolutions_between_the_pools(resnet18: Graph, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns that this file is for this processor only
    ort.InferenceSession(resnet18.serialized, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimized.onnx").graph.node
    # Every Relu and Add is part of a convolution; all the way from the first pool to the last, maps stay in blocks.
    once = dict.fromkeys(("Transpose", "Cast", "Sub", "Mul", "MaxPool", "ReorderOutput", *LAST), 1)
    assert Counter(node.op_type for node in nodes) == once | {"Conv": 20}


def test_a_crop_that_a_network_cannot_take_is_an_error_in_one_sentence() -> None:
    at_192 = FULL.model_copy(update={"crop": 192})
    with pytest.raises(BadInput, match=r"--crop 192: a map of \[6, 6\] cannot be pooled to \[7, 7\] evenly"):
        to_onnx(unsettled_vgg(batch_norm=False), at_192)
