from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from export.errors import VerificationFailed
from export.images import synthetic_images
from export.verify import TIE, compare, reference, verify
from models.checkpoint import load_checkpoint
from tests.export.conftest import FULL, Graph


def test_a_faithful_graph_is_certified_at_every_batch_size_with_optimisations_off_and_on(resnet18: Graph) -> None:
    certificate = verify(resnet18.serialized, resnet18.network, resnet18.preprocessing)
    assert [(check.optimized, check.batch_size) for check in certificate.checks] == [
        (optimized, size) for optimized in (False, True) for size in (1, 2, 3, 8)
    ]
    assert certificate.tolerance == 1e-4
    # Measured 1e-7 to 1e-6. Exactly nothing would mean that something was compared with itself.
    assert 0 < certificate.max_difference("fp32") < 1e-5
    assert all(0 <= check.mean_difference <= check.max_difference for check in certificate.checks)
    assert {check.top1_agreement for check in certificate.checks} == {1.0}


def altered(graph: Graph, name: str, change: np.ufunc | float) -> bytes:
    model = onnx.ModelProto.FromString(graph.serialized)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = onnx.numpy_helper.to_array(tensor) * change
    tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    serialized: bytes = model.SerializeToString()
    return serialized


@pytest.mark.parametrize("name", ["layer3.1.conv2.bias", "preprocess.mul.1", "fc.weight"])
def test_a_graph_whose_weights_are_off_by_two_per_cent_is_refused(resnet18: Graph, name: str) -> None:
    wrong = altered(resnet18, name, 1.02)
    with pytest.raises(VerificationFailed, match=r"differ by .*1e-04 is allowed.*nothing was written"):
        verify(wrong, resnet18.network, resnet18.preprocessing)


def test_a_graph_that_answers_nan_is_refused(resnet18: Graph) -> None:
    with pytest.raises(VerificationFailed, match="differ by nan"):
        verify(altered(resnet18, "fc.bias", float("nan")), resnet18.network, resnet18.preprocessing)


def test_channels_in_the_wrong_order_are_noticed(resnet18: Graph) -> None:
    backwards = resnet18.preprocessing.model_copy(update={"mean": resnet18.preprocessing.mean[::-1]})
    with pytest.raises(VerificationFailed):
        verify(resnet18.serialized, resnet18.network, backwards)


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(VerificationFailed, match=r"\(2, 4\).*\(2, 5\)"):
        compare(np.zeros((2, 4), np.float32), np.zeros((2, 5), np.float32), optimized=True)


def test_another_top_class_counts_unless_pytorch_itself_hardly_tells_the_two_apart() -> None:
    want = np.array([[0.5, 0.49, 0.01]] * 2, np.float32)
    swapped = want[:, [1, 0, 2]]
    assert compare(want, want, optimized=True).top1_agreement == 1
    assert compare(np.stack([want[0], swapped[0]]), want, optimized=True).top1_agreement == 0.5
    tied = np.array([[0.4, 0.4 - TIE / 2, 0.2]], np.float32)
    assert compare(tied[:, [1, 0, 2]], tied, optimized=True).top1_agreement == 1
    apart = np.array([[0.4, 0.4 - TIE * 4, 0.2]], np.float32)
    assert compare(apart[:, [1, 0, 2]], apart, optimized=True).top1_agreement == 0


def test_a_different_top_class_is_refused_even_within_the_tolerance(
    resnet18: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VerificationFailed, match="agree on the first class of only"):
        verify(altered(resnet18, "fc.weight", -1), resnet18.network, resnet18.preprocessing, tolerance=2)


def test_images_are_the_same_for_a_seed_and_cover_the_whole_range() -> None:
    images = synthetic_images(5, 64, seed=1)
    assert images.shape == (5, 64, 64, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images, synthetic_images(5, 64, seed=1))
    assert not np.array_equal(images, synthetic_images(5, 64, seed=2))
    assert images[0].max() == 0
    assert images[-1].min() == 255


def test_a_trained_network_sees_many_classes_in_the_images(shared: Path) -> None:
    network = load_checkpoint(shared / "weights" / "resnet18.pth").network()
    classes = reference(network, FULL, synthetic_images(14, 224, seed=0)).argmax(axis=1)
    assert len(set(classes.tolist())) >= 7
