"""Static quantisation, on a network with random weights: what the file holds, whatever the accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from export.__main__ import main
from export.calibration import MINIMUM, read_images
from export.errors import BadInput
from export.graph import initializers, layers, probabilities
from export.images import synthetic_images
from export.quantize import Quantized, divergence, quantize_int8
from export.rounding import kernel_order, round_weights
from export.to_onnx import to_onnx
from models.resnet import BasicBlock
from service.repository import find
from tests.export.conftest import SMALL, contract_of, session, short

IMAGES = synthetic_images(MINIMUM, SMALL.crop, seed=5)


@pytest.fixture(scope="module")
def plain() -> onnx.ModelProto:
    """A short network: rounding takes as long as there are weights."""
    return to_onnx(short(BasicBlock), SMALL)


@pytest.fixture(scope="module")
def quantized(plain: onnx.ModelProto) -> Quantized:
    return quantize_int8(plain, IMAGES, report=lambda line: None)


def weights_of(model: onnx.ModelProto) -> list[NDArray[np.int8]]:
    """Return the weights of every layer as whole numbers; fail if one is not."""
    makers = {output: node for node in model.graph.node for output in node.output}
    constants = initializers(model)
    return [onnx.numpy_helper.to_array(constants[makers[node.input[1]].input[0]]) for node in layers(model)]


def test_every_layer_is_in_eight_bits_with_a_scale_a_channel(plain: onnx.ModelProto, quantized: Quantized) -> None:
    makers = {output: node for node in quantized.model.graph.node for output in node.output}
    constants = initializers(quantized.model)
    nodes = layers(quantized.model)
    assert len(nodes) == len(layers(plain)) == 13
    for node in nodes:
        data, weight = makers[node.input[0]], makers[node.input[1]]
        assert (data.op_type, weight.op_type) == ("DequantizeLinear", "DequantizeLinear")
        assert list(constants[weight.input[1]].dims) == [constants[weight.input[0]].dims[0]]
        assert constants[data.input[2]].data_type == onnx.TensorProto.UINT8


def test_two_products_of_any_activations_fit_16_bits_where_there_is_no_vnni(quantized: Quantized) -> None:
    for weights in weights_of(quantized.model):
        assert weights.dtype == np.int8
        by_position = np.moveaxis(weights.astype(int), 1, -1).reshape(len(weights), -1)  # as kernels go through them
        even = by_position[:, : by_position.shape[1] // 2 * 2]
        assert 255 * np.abs(even[:, ::2] + even[:, 1::2]).max() < 2**15  # VPMADDUBSW adds two products, saturating
        assert np.abs(by_position).max() > 64  # and more than seven bits are used


def test_columns_are_ordered_by_what_kernels_add_together() -> None:
    # Three channels of a 1×3 filter, columns 0-2, 3-5 and 6-8; kernels go through 0, 3, 6, 1, 4, 7, 2, 5, 8.
    assert kernel_order((8, 3, 1, 3)).tolist() == [0, 3, 2, 5, 4, 7, 6, 1, 8]
    assert kernel_order((8, 4)).tolist() == [0, 1, 2, 3]


def test_the_first_layer_takes_the_pixels_own_bytes(quantized: Quantized) -> None:
    kinds = [node.op_type for node in quantized.model.graph.node if node.name.startswith("preprocess.")]
    assert kinds == ["Transpose", "Split", "Pad", "Pad", "Pad", "Concat", "DequantizeLinear"]
    makers = {output: node for node in quantized.model.graph.node for output in node.output}
    pixels = makers[layers(quantized.model)[0].input[0]]
    assert makers[pixels.input[0]].op_type == "Concat"
    scale, zero_point = (onnx.numpy_helper.to_array(initializers(quantized.model)[name]) for name in pixels.input[1:])
    assert (scale, zero_point) == (1, 114)  # ImageNet's mean over the channels, a whole number: nothing is rounded


def test_logits_and_softmax_stay_in_float32(quantized: Quantized) -> None:
    *_, last, softmax = quantized.model.graph.node
    assert softmax.op_type == "Softmax"
    assert softmax.input[0] in last.output
    assert last.op_type == "Gemm"


def test_the_answers_are_near_float32s_and_the_input_and_output_unchanged(
    plain: onnx.ModelProto, quantized: Quantized
) -> None:
    images = synthetic_images(16, SMALL.crop, seed=6)
    want, got = probabilities(plain, images), probabilities(quantized.model, images)
    assert divergence(want, want) == 0
    assert divergence(want, got) < 0.02 * divergence(want, np.full_like(want, 0.1))
    before, after = session(plain.SerializeToString()), session(quantized.model.SerializeToString())
    for ours, theirs in zip(
        [*before.get_inputs(), *before.get_outputs()], [*after.get_inputs(), *after.get_outputs()], strict=True
    ):
        assert (ours.name, ours.type, ours.shape) == (theirs.name, theirs.type, theirs.shape)


@pytest.mark.slow  # quantises again
def test_the_same_images_and_seed_give_the_same_bytes(plain: onnx.ModelProto, quantized: Quantized) -> None:
    before = plain.SerializeToString()
    again = quantize_int8(plain, IMAGES, report=lambda line: None)
    assert again.model.SerializeToString() == quantized.model.SerializeToString()
    assert plain.SerializeToString() == before  # and the graph it was made of is as it was


def test_the_method_kept_is_the_closest_on_images_held_out(quantized: Quantized) -> None:
    assert quantized.divergences[quantized.method] == min(quantized.divergences.values())
    assert len(quantized.divergences) == 4
    assert "min-max" in quantized.divergences
    assert quantized.held_out == MINIMUM // 2


def test_rounding_by_inputs_beats_rounding_to_the_nearest(plain: onnx.ModelProto) -> None:
    rounded, overrides = round_weights(plain, IMAGES[:8])
    nearest = onnx.ModelProto()
    nearest.CopyFrom(plain)
    for name, channels in overrides.items():
        tensor = initializers(nearest)[name]
        value = onnx.numpy_helper.to_array(tensor)
        scale = np.array([channel["scale"] for channel in channels]).reshape(-1, *[1] * (value.ndim - 1))
        tensor.CopyFrom(onnx.numpy_helper.from_array((value / scale).round() * scale, name))
    images = synthetic_images(16, SMALL.crop, seed=6)
    want = probabilities(plain, images)
    by_inputs, by_distance = (divergence(want, probabilities(model, images)) for model in (rounded, nearest))
    assert by_inputs < by_distance / 2


@pytest.mark.slow  # exports and quantises another network: four seconds
def test_a_shortcut_that_pads_and_a_channel_of_zeros_are_quantised_too() -> None:
    network = short(BasicBlock, shortcut="A")
    network.get_parameter("layer2.0.conv1.weight").data[3] = 0
    model = to_onnx(network, SMALL)
    quantized = quantize_int8(model, IMAGES, report=lambda line: None)
    images = synthetic_images(8, SMALL.crop, seed=6)
    want = probabilities(model, images)
    assert divergence(want, probabilities(quantized.model, images)) < 0.1 * divergence(want, np.full_like(want, 0.1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As many images as are the least, in folders of their own, among other files."""
    for number, image in enumerate(IMAGES):
        path = tmp_path / "images" / str(number % 3) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def test_images_come_as_the_service_prepares_them_in_an_order_of_the_seed(folder: Path) -> None:
    said: list[str] = []
    images = read_images(folder, SMALL, seed=1, warn=said.append)
    assert images.shape == (MINIMUM, SMALL.crop, SMALL.crop, 3)
    assert np.array_equal(images, read_images(folder, SMALL, seed=1, warn=said.append))
    assert not np.array_equal(images, read_images(folder, SMALL, seed=2, warn=said.append))
    assert "only 16 images" in said[0]


def test_a_broken_image_is_left_out_and_too_few_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    said: list[str] = []
    assert len(read_images(folder, SMALL, seed=0, warn=said.append)) == MINIMUM
    assert "broken.png is left out" in said[0]
    (folder / "0" / "0.png").unlink()
    with pytest.raises(BadInput, match=f"15 images are too few, {MINIMUM} the least"):
        read_images(folder, SMALL, seed=0, warn=said.append)
    with pytest.raises(BadInput, match="no images there"):
        read_images(tmp_path / "nowhere", SMALL, seed=0, warn=said.append)


@pytest.mark.slow  # rounds the eleven million weights of a whole ResNet-18
def test_the_command_writes_an_int8_artefact_that_says_how_it_was_made(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["resnet18", "--weights", "untrained", "--crop", "64", "--resize", "72", "--output", str(tmp_path)]
    command += ["--precision", "int8", "--calibration", str(folder)]
    assert main(command) == 0
    contract = contract_of(find(tmp_path, "resnet18").path)
    assert contract.precision == "int8"
    assert contract.certificate is not None
    assert contract.certificate.quantization is not None
    assert contract.certificate.quantization.images == MINIMUM
    assert contract.certificate.quantization.held_out == MINIMUM // 2
    assert main([*command, "--if-missing"]) == 0
    assert "there already" in capsys.readouterr().out
    (folder / "1" / "1.png").unlink()
    assert main([*command, "--if-missing"]) == 2  # other images, another artefact; and now too few


def test_too_few_images_are_found_out_before_anything_else_is_done(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "0" / "0.png").unlink()
    command = ["resnet18", "--weights", str(tmp_path / "none.pth"), "--output", str(tmp_path), "--precision", "int8"]
    assert main([*command, "--calibration", str(folder)]) == 2
    assert "15 images are too few, 16 the least" in capsys.readouterr().err


def test_calibration_without_int8_and_int8_without_calibration_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["resnet18", "--weights", "untrained", "--output", str(tmp_path)]
    assert main([*command, "--precision", "int8"]) == 2
    assert main([*command, "--calibration", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "--precision int8 needs --calibration DIR" in said
    assert "--calibration is for --precision int8" in said
