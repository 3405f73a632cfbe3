"""What common trainers save is loaded, whatever they put around it."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models import zoo
from models.checkpoint import load_checkpoint
from models.recognise import recognise
from tests.models.checkpoints import Tensors, equal, prefixed, saved, stand_in

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
