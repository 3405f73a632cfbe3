from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models import zoo
from models.checkpoint import CheckpointError, load_checkpoint
from models.recognise import recognise

Tensors = dict[str, Tensor]


def stand_in(architecture: str, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensors:
    """Return tensors of a trained net's keys and shapes, each filled with a number of its own: a small file."""
    with torch.device("meta"):
        net = zoo.create(architecture, num_classes=num_classes).state_dict()
    return {
        key: torch.tensor(0.01 * (i + 1), dtype=dtype if tensor.is_floating_point() else tensor.dtype).expand(
            tensor.shape
        )
        for i, (key, tensor) in enumerate(net.items())
    }


@pytest.fixture(scope="module")
def trained() -> Tensors:
    """Stands for a trained net of seven classes."""
    return stand_in("resnet18", 7)


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + key: tensor for key, tensor in tensors.items()}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def equal(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# --- what trainers save ---------------------------------------------------------------------------------


LAYOUTS: dict[str, Callable[[Tensors], Any]] = {
    "bare": lambda t: t,
    "model": lambda t: {"model": t, "epoch": 3, "best": torch.tensor(0.5)},
    "state_dict": lambda t: {"state_dict": t, "optimizer": {"state": {}, "param_groups": []}},
    "model_state_dict": lambda t: {"model_state_dict": t},
    "nested": lambda t: {"state_dict": {"model": t}},
    "ddp": lambda t: {"state_dict": prefixed("module.", t)},
    "compiled ddp": lambda t: {"model": prefixed("_orig_mod.module.", t)},
    "ddp of compiled": lambda t: prefixed("module._orig_mod.", t),
    "lightning": lambda t: {
        "epoch": 1,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": prefixed("model.", t) | {"loss.weight": torch.ones(7)},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": None, "kth_value": torch.tensor(1.0)}},
        "hyper_parameters": {"lr": 0.1},
    },
    "lightning, another attribute": lambda t: {"state_dict": prefixed("net.backbone.", t)},
    "torchvision's script": lambda t: {"model": t, "args": argparse.Namespace(lr=0.1, amp=True), "epoch": 9},
    "timm's script": lambda t: {"state_dict": prefixed("module.", t), "state_dict_ema": None, "arch": "resnet18"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_common_trainers_save_loads(layout: str, trained: Tensors, tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.pth", LAYOUTS[layout](trained))
    checkpoint = load_checkpoint(path, num_labels=7)
    assert (checkpoint.architecture, checkpoint.num_classes) == ("resnet18", 7)
    assert equal(checkpoint.state_dict, trained)
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("container", ["model_ema", "state_dict_ema"])
def test_an_averaged_net_is_preferred_to_the_last_one(container: str, trained: Tensors, tmp_path: Path) -> None:
    last = {key: torch.zeros(()).expand(tensor.shape) for key, tensor in trained.items()}
    path = saved(tmp_path / "weights.pth", {"model": last, "state_dict": last, container: trained})
    assert equal(load_checkpoint(path).state_dict, trained)


def test_a_real_average_of_a_net_loads(tmp_path: Path) -> None:
    net = zoo.create("resnet18", num_classes=3)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)  # torchvision's recipe
    path = saved(tmp_path / "weights.pth", {"model": net.state_dict(), "model_ema": average.state_dict()})
    assert "n_averaged" in average.state_dict()
    assert equal(load_checkpoint(path).state_dict, net.state_dict())


def test_safetensors_load(tmp_path: Path) -> None:
    tensors = zoo.create("resnet18", num_classes=3).state_dict()
    save_file(tensors, tmp_path / "model.safetensors")
    assert equal(load_checkpoint(tmp_path / "model.safetensors").state_dict, tensors)


def test_the_format_before_torch_1_6_loads(trained: Tensors, tmp_path: Path) -> None:
    torch.save(trained, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert equal(load_checkpoint(tmp_path / "old.pth").state_dict, trained)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast_to_float32(dtype: torch.dtype, trained: Tensors, tmp_path: Path) -> None:
    loaded = load_checkpoint(saved(tmp_path / "weights.pt", stand_in("resnet18", 7, dtype))).state_dict
    for key, tensor in loaded.items():
        assert tensor.dtype == (torch.int64 if key.endswith("num_batches_tracked") else torch.float32)
        torch.testing.assert_close(tensor, trained[key], rtol=1e-2, atol=1e-3)


def test_missing_batch_counters_are_tolerated(trained: Tensors, tmp_path: Path) -> None:
    without = {key: tensor for key, tensor in trained.items() if not key.endswith("num_batches_tracked")}
    loaded = load_checkpoint(saved(tmp_path / "weights.pth", without)).state_dict
    assert list(loaded) == list(trained)
    assert equal({key: loaded[key] for key in without}, without)


def hugging_face(tensors: Tensors) -> Tensors:
    """Return the tensors by the keys of transformers 5.23, ResNetForImageClassification.state_dict()."""

    def key(name: str) -> str:
        parts = name.split(".")
        unit = {"conv": "convolution", "bn": "normalization"}
        if parts[0] == "fc":
            return f"classifier.1.{parts[1]}"
        if parts[0] in ("conv1", "bn1"):
            return f"resnet.embedder.embedder.{unit[parts[0][:-1]]}.{parts[1]}"
        where = f"resnet.encoder.stages.{int(parts[0][-1]) - 1}.layers.{parts[1]}"
        if parts[2] == "downsample":
            return f"{where}.shortcut.{('convolution', 'normalization')[int(parts[3])]}.{parts[4]}"
        return f"{where}.layer.{int(parts[2][-1]) - 1}.{unit[parts[2][:-1]]}.{parts[3]}"

    return {key(name): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_hugging_face_keys_load(architecture: str, tmp_path: Path) -> None:
    tensors = stand_in(architecture, 5)
    theirs = hugging_face(tensors)
    assert "resnet.encoder.stages.1.layers.0.shortcut.convolution.weight" in theirs
    checkpoint = load_checkpoint(saved(tmp_path / "pytorch_model.bin", theirs), num_labels=5)
    assert checkpoint.architecture == architecture
    assert equal(checkpoint.state_dict, tensors)


# --- the network it makes -------------------------------------------------------------------------------


def test_the_network_computes_what_the_trained_one_did(tmp_path: Path) -> None:
    net = zoo.create("resnet34-a", num_classes=4, seed=4).eval()
    checkpoint = load_checkpoint(saved(tmp_path / "weights.pth", net.state_dict()))
    assert checkpoint.architecture == "resnet34-a"
    loaded = checkpoint.network()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert not loaded.training
        assert torch.equal(loaded(images), net(images))


UNTOLD = {"plain18": "resnet18-a", "plain34": "resnet34-a"}


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_the_architecture_is_told_from_the_shapes(architecture: str) -> None:
    with torch.device("meta"):
        tensors = zoo.create(architecture).state_dict()
    # The two things that no shape tells: see models/recognise.py.
    assert recognise(tensors) == UNTOLD.get(architecture, architecture.removesuffix("-v1"))


def test_the_user_says_what_shapes_cannot(tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.pth", stand_in("plain18", 3))
    assert load_checkpoint(path).architecture == "resnet18-a"
    assert load_checkpoint(path, architecture="plain18").architecture == "plain18"


# --- refusals -------------------------------------------------------------------------------------------


def test_another_number_of_labels_is_refused(trained: Tensors, tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.pth", trained)
    with pytest.raises(CheckpointError, match="tells 7 classes apart, but there are 1000 labels"):
        load_checkpoint(path, num_labels=1000)


def test_missing_unexpected_and_misshaped_keys_are_named_and_counted(trained: Tensors, tmp_path: Path) -> None:
    wrong = dict(trained)
    del wrong["layer2.0.bn1.bias"]
    wrong["extra"] = torch.ones(1)
    wrong["layer3.1.conv2.weight"] = torch.ones(256, 256, 1, 1)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(saved(tmp_path / "weights.pth", wrong))
    message = str(caught.value)
    assert "not the weights of resnet18" in message
    assert "1 missing: layer2.0.bn1.bias" in message
    assert "1 unexpected: extra" in message
    assert "1 misshaped: layer3.1.conv2.weight (256, 256, 1, 1), not (256, 256, 3, 3)" in message


def test_a_wrong_architecture_is_told_apart_in_a_message_of_bounded_length(trained: Tensors, tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.pth", trained)
    with pytest.raises(CheckpointError, match=r"not the weights of resnet152 \(they look like resnet18\)") as caught:
        load_checkpoint(path, architecture="resnet152")
    assert "more" in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_an_unknown_architecture_is_a_plain_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown architecture 'resnet19'"):
        load_checkpoint(tmp_path / "any.pth", architecture="resnet19")


def test_an_unknown_layout_shows_what_was_expected_and_found(tmp_path: Path) -> None:
    vision_transformer = {"cls_token": torch.ones(1, 1, 192), "patch_embed.proj.weight": torch.ones(192, 3, 16, 16)}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(saved(tmp_path / "weights.pth", vision_transformer))
    assert "Expected: a ResNet's keys as torchvision and timm name them (conv1.weight" in str(caught.value)
    assert "2 tensors: cls_token (1, 1, 192), patch_embed.proj.weight (192, 3, 16, 16)" in str(caught.value)


def test_other_resnets_are_refused_by_what_differs(tmp_path: Path) -> None:
    key = "layer1.0.conv2.weight"
    tensors = stand_in("resnet50", 1000) | {key: torch.ones(128, 128, 3, 3)}  # as in wide_resnet50_2
    with pytest.raises(CheckpointError, match=re.escape(f"1 misshaped: {key} (128, 128, 3, 3), not (64, 64, 3, 3)")):
        load_checkpoint(saved(tmp_path / "weights.pth", tensors))


def test_several_networks_in_one_file_are_not_guessed_between(trained: Tensors, tmp_path: Path) -> None:
    both = prefixed("student.", trained) | prefixed("teacher.", trained)
    with pytest.raises(CheckpointError, match=r"several networks, under the prefixes student\., teacher\."):
        load_checkpoint(saved(tmp_path / "weights.pth", both))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, trained: Tensors, tmp_path: Path) -> None:
    broken = trained | {"layer4.0.conv1.weight": torch.full((512, 256, 3, 3), value)}
    with pytest.raises(CheckpointError, match=r"layer4\.0\.conv1\.weight holds NaN or infinity"):
        load_checkpoint(saved(tmp_path / "weights.pth", broken))


@pytest.mark.parametrize(
    "odd",
    [
        torch.ones(64, 3, 7, 7, dtype=torch.int8),
        torch.ones(64, 3, 7, 7).to_sparse(),
        torch.empty(64, 3, 7, 7, device="meta"),
        torch.ones(64, 3, 7, 7, dtype=torch.complex64),
    ],
    ids=["integers", "sparse", "without data", "complex"],
)
def test_tensors_that_are_no_weights_are_refused(odd: Tensor, trained: Tensors, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"conv1\.weight"):
        load_checkpoint(saved(tmp_path / "weights.pth", trained | {"conv1.weight": odd}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "expected tensors by name, found list"),
        (torch.ones(2), "found Tensor"),
        ({"epoch": 3, "optimizer": {}}, "found epoch, optimizer"),
        ({}, "found nothing"),
        ({"state_dict": {}}, "found state_dict"),
    ],
)
def test_a_file_without_named_tensors_says_what_it_holds(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved(tmp_path / "weights.pth", content))


def test_a_container_within_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    with pytest.raises(CheckpointError, match="more than 4 containers"):
        load_checkpoint(saved(tmp_path / "weights.pth", content))


# --- files that are damaged, or dangerous ---------------------------------------------------------------


class Dangerous:
    """Unpickling this creates a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_checkpoint_is_never_run(new_format: bool, trained: Tensors, tmp_path: Path) -> None:
    victim = tmp_path / "ran"
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": trained, "x": Dangerous(victim)}, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(CheckpointError, match=r"posix\.mkdir"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Dangerous(victim)))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not victim.exists()
    torch.load(saved(path, Dangerous(victim)), weights_only=False)
    assert victim.exists(), "the file was not dangerous, so the test showed nothing"


def test_a_lightning_checkpoint_with_objects_says_how_to_save_it_again(trained: Tensors, tmp_path: Path) -> None:
    content = {"state_dict": prefixed("model.", trained), "hyper_parameters": {"data": pathlib.PurePosixPath("/data")}}
    path = saved(tmp_path / "last.ckpt", content)
    with pytest.raises(CheckpointError, match=r"pathlib\.PurePosixPath") as caught:
        load_checkpoint(path)
    advice = 'torch.save(torch.load("last.ckpt", weights_only=False)["state_dict"], "weights.pth")'
    assert advice in str(caught.value)
    exec(advice.replace('"last.ckpt"', "path").replace('"weights.pth"', "path"), {"torch": torch, "path": path})
    assert equal(load_checkpoint(path).state_dict, trained)


def test_a_whole_pickled_module_is_refused_with_advice(tmp_path: Path) -> None:
    path = saved(tmp_path / "module.pth", zoo.create("resnet18", num_classes=2))
    with pytest.raises(CheckpointError, match=r"models\.resnet\..*torch\.save\(model\.state_dict\(\)"):
        load_checkpoint(path)


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scripted.pt"
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)).eval()
    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.trace(net, torch.ones(1, 3, 4, 4)).save(path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="not a file"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_refused_wherever_it_ends(suffix: str, tmp_path: Path) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    tensors = {"conv1.weight": torch.ones(64, 3, 7, 7)}
    save_file(tensors, whole) if suffix == ".safetensors" else torch.save(tensors, whole)
    content = whole.read_bytes()
    for kept in range(0, len(content), len(content) // 40):
        cut.write_bytes(content[:kept])
        with pytest.raises(CheckpointError, match="cut"):
            load_checkpoint(cut)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95", b"\x20\0\0\0\0\0\0\0{"]), rest=st.binary()
)
def test_random_bytes_are_refused_and_never_crash(suffix: str, start: bytes, rest: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(start + rest)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
