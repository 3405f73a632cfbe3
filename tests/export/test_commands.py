"""The family of commands on real networks and real photos: what they find, print and write."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from export.__main__ import main
from export.commands import COMMANDS
from export.evaluate import BATCH_SIZE
from export.graph import initializers
from export.half import to_fp16
from export.inspection import inspect
from models.complexity import of_architecture, totals
from service.engine.cpu import CpuEngine
from service.repository import find
from tests.export.conftest import Graph
from tests.service.artefacts import write_brightness

PHOTOS = 20


@pytest.fixture(scope="module")
def photos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder of every twelfth photo, by WordNet id, with one that is broken."""
    folder = tmp_path_factory.mktemp("photos")
    with (shared / "images" / "labels.csv").open() as file:
        for row in list(csv.DictReader(file))[:: 250 // PHOTOS][:PHOTOS]:
            (folder / row["wnid"]).mkdir()
            shutil.copy(shared / "images" / row["file"], folder / row["wnid"])
    (next(folder.iterdir()) / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


def run(*arguments: str | Path) -> int:
    return main([*map(str, arguments)])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_of_the_same_style(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(command, "--help")
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "examples:\n  resnet-export " in told
    assert "exit codes:" in told
    assert told.startswith("usage: resnet-export")


@pytest.mark.parametrize(("command", "rest"), [("inspect", []), ("verify", ["x.pth"]), ("evaluate", ["."])])
def test_an_artefact_that_is_not_there_is_one_line(
    command: str, rest: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, "cats", *rest, "--artifacts", tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cats is no file" in line
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a not a model")
    assert run(command, tmp_path, *rest) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# --- inspect ---


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_inspect_counts_what_the_paper_counts(
    architecture: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", architecture, "--artifacts", trained, "--json", tmp_path / "layers.json") == 0
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "layers.json").read_text())
    of_network = totals(of_architecture(architecture))
    assert found["total"]["multiply_adds"] == of_network.multiply_adds
    assert f"{of_network.multiply_adds:,}" in told
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert layers["conv1"]["kind"] == "conv 7x7/2"
    assert layers["conv1"]["output_shape"] == [64, 112, 112]
    assert layers["conv1"]["size_bytes"] == 4 * (9408 + 64)
    assert layers["fc"]["kind"] == "fc"
    assert found["contract"]["architecture"] == architecture
    assert "differs from PyTorch by" in told


def test_inspect_sees_float16(resnet18: Graph) -> None:
    plain, half = inspect(resnet18.model), inspect(to_fp16(resnet18.model))
    assert {layer.weights for layer in half} == {"float16"}
    assert [replace(layer, weights="float32", size_bytes=2 * layer.size_bytes) for layer in half] == plain


# --- verify ---


def test_verify_finds_the_artefact_to_be_its_checkpoints(
    trained: Path, shared: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = shared / "weights" / "resnet18.pth"
    arguments = ["--artifacts", trained, "--images", photos, "--json", tmp_path / "verified.json"]
    assert run("verify", "resnet18", checkpoint, *arguments) == 0
    said = capsys.readouterr()
    assert "verified: " in said.out
    assert "100.0% of 20 images have PyTorch's first class; top-1" in said.out
    assert "the very file that the artefact was made from" in said.err
    assert "broken.jpg is left out" in said.err
    found = json.loads((tmp_path / "verified.json").read_text())
    assert len(found["checks"]) == 8
    assert all(check["max_difference"] < 1e-5 for check in found["checks"])


@pytest.mark.slow  # two seconds; test_verify.py has what is refused
def test_verify_refuses_what_another_checkpoint_computes(
    trained: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(find(trained, "resnet18").path)
    bias = initializers(model)["fc.bias"]
    values = onnx.numpy_helper.to_array(bias) + np.float32(0.01) * np.arange(1000, dtype=np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, "fc.bias"))
    onnx.save(model, tmp_path / "model.onnx")
    assert run("verify", tmp_path, shared / "weights" / "resnet18.pth", "--quiet") == 4
    assert "ONNX and PyTorch differ by" in capsys.readouterr().err
    assert run("verify", tmp_path, shared / "weights" / "resnet50.safetensors", "--quiet") == 2  # another architecture


# --- evaluate ---


def evaluated(trained: Path, photos: Path, folder: Path, *more: str) -> dict[str, Any]:
    assert run("evaluate", "resnet18", photos, "--artifacts", trained, "--output", folder, *more) == 0
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


def test_evaluate_measures_lists_bad_files_and_goes_on_after_an_interruption(
    trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    infer, asked = CpuEngine.infer, []

    def counting(engine: CpuEngine, images: Any, *, wide: bool = False) -> Any:
        asked.append(len(images))
        return infer(engine, images, wide=wide)

    monkeypatch.setattr(CpuEngine, "infer", counting)
    found = evaluated(trained, photos, tmp_path, "--json", str(tmp_path / "figures.json"))
    said = capsys.readouterr()
    assert sum(asked) == PHOTOS + 2  # and the golden images
    assert json.loads((tmp_path / "figures.json").read_text()) == found
    assert found["images"] == PHOTOS
    assert 0.5 < found["top1"] <= found["top5"] <= 1
    assert 0 < found["calibration_error"] < 0.5
    assert found["images_per_s"] > 0
    assert [Path(name).name for name in found["bad_files"]] == ["broken.jpg"]
    assert "broken.jpg is left out" in said.err
    assert f"top-1              {found['top1']:.1%}" in said.out
    assert (tmp_path / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    assert found["worst_classes"][0]["taken_for"][0]["times"] >= 1

    # As it is when the power goes in the middle of a line.
    lines = (tmp_path / "answers.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 1 + PHOTOS + 1
    (tmp_path / "answers.jsonl").write_text("".join(lines[:12]) + lines[12][:20])
    asked.clear()
    again = evaluated(trained, photos, tmp_path)
    done = sum('"bad"' not in line for line in lines[1:12])
    assert sum(asked) == PHOTOS - done + 2
    assert max(asked) <= BATCH_SIZE
    assert again | {"images_per_s": 0} == found | {"images_per_s": 0}
    assert "11 of 21 photos were answered before" in capsys.readouterr().err

    asked.clear()
    evaluated(trained, photos, tmp_path, "--afresh")
    assert sum(asked) == PHOTOS + 2


@pytest.mark.slow  # evaluates twice
def test_another_artefacts_answers_are_not_taken_for_ones_own(trained: Path, photos: Path, tmp_path: Path) -> None:
    first = evaluated(trained, photos, tmp_path)
    journal = (tmp_path / "answers.jsonl").read_text()
    (tmp_path / "answers.jsonl").write_text(journal.replace('"artefact": "', '"artefact": "0', 1).replace("[", "[7, "))
    assert evaluated(trained, photos, tmp_path)["top1"] == first["top1"]


def test_photos_without_labels_cannot_be_evaluated(
    trained: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(next((shared / "images").glob("*.JPEG")), tmp_path)
    assert run("evaluate", "resnet18", tmp_path, "--artifacts", trained) == 2
    assert "the classes are not known" in capsys.readouterr().err


# --- compare ---


def test_compare_puts_two_networks_side_by_side(
    trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--artifacts", trained, "--json", tmp_path / "compared.json"]
    assert run("compare", "resnet18", "resnet50", photos, *arguments) == 0
    said = capsys.readouterr()
    found = json.loads((tmp_path / "compared.json").read_text())
    assert found["images"] == PHOTOS
    right = {side: round(found[side]["top1"] * PHOTOS) for side in ("a", "b")}
    assert right["a"] == found["both_right"] + found["only_a_right"]
    assert right["b"] == found["both_right"] + found["only_b_right"]
    assert 0.5 < found["top1_agreement"] < 1
    assert found["a"]["images_per_s"] > found["b"]["images_per_s"]  # a third of the multiply-adds
    assert "same first class on" in said.out
    assert said.err.count("broken.jpg is left out") == 1


def test_networks_of_other_classes_cannot_be_compared(
    trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", find(trained, "resnet18").path, write_brightness(tmp_path), photos) == 2
    assert "other classes" in capsys.readouterr().err
