"""What is no checkpoint, or not this network's, is refused by name; code in a file is never run."""

from __future__ import annotations

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

from models import zoo
from models.checkpoint import CheckpointError, load_checkpoint
from tests.models.checkpoints import Tensors, equal, prefixed, saved, stand_in

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
