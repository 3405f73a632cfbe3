from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from models.__main__ import main
from models.complexity import PUBLISHED
from tests.conftest import missing


@pytest.fixture
def few_photos(shared: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in sorted((shared / "images").glob("*.JPEG"))[:3]:
        (folder / photo.name).symlink_to(photo)
    return folder


@pytest.mark.slow  # loads PyTorch in a process of its own; the others call the same `main`
def test_complexity_prints_a_table_with_the_total() -> None:
    command = [sys.executable, "-m", "models", "complexity", "resnet34"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "multiply-adds"]
    assert lines[2].split() == ["conv1", "conv", "7x7/2", "64x112x112", "9,408", "118,013,952"]
    assert any(line.split() == ["total", "21,797,672", "3,663,761,408"] for line in lines)
    assert done.stderr == ""


def test_complexity_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["complexity", "resnet50-v1", "--json", "--num-classes", "10", "--input-size", "112"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["architecture"] == "resnet50-v1"
    assert found["input_shape"] == [3, 112, 112]
    assert found["layers"][-1] == {
        "name": "fc",
        "kind": "fc",
        "output_shape": [10],
        "parameters": 20490,
        "multiply_adds": 20480,
    }
    assert found["total"]["parameters"] == sum(layer["parameters"] for layer in found["layers"])


@pytest.mark.slow  # counts all seven, twice; test_complexity.py has the figures
def test_the_comparison_prints_the_papers_networks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["complexity", "--compare"]) == 0
    table = capsys.readouterr().out
    rows = [re.split(r"\s{2,}", line) for line in table.splitlines()[2 : 2 + len(PUBLISHED)]]
    assert [row[0] for row in rows] == list(PUBLISHED)
    assert rows[1] == ["plain34", "21,623,848", "3.64", "3.6", "18.6%"]
    assert main(["complexity", "--compare", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["networks"]) == len(PUBLISHED)


@pytest.mark.parametrize(
    "arguments",
    [[], ["complexity"], ["complexity", "resnet18", "--compare"], ["complexity", "resnet18", "--input-size", "0"]],
)
def test_misuse_exits_with_2_and_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m models" in capsys.readouterr().err


def test_an_unknown_architecture_is_one_line_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["complexity", "resnet19"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: unknown architecture 'resnet19': choose from ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("file", ["resnet18.pth", "resnet50.safetensors"])
def test_responses_of_a_real_net_as_table_and_json(
    file: str, shared: Path, few_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "responses.json"
    assert main(["responses", str(shared / "weights" / file), str(few_photos), "--json", str(output)]) == 0
    table = capsys.readouterr().out
    found = json.loads(output.read_text())
    assert found["photos"] == 3
    assert "Fig. 7" in found["source"]
    assert "Fig. 7" in table
    for layer in found["layers"]:
        rank = "projection" if layer["projection"] else str(found["ranked"].index(layer["name"]) + 1)
        assert re.search(rf"^{re.escape(layer['name'])} +{layer['std']:.4f} +{rank}$", table, re.MULTILINE)


def test_responses_are_plotted(shared: Path, few_photos: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        missing("Matplotlib, an optional extra, is not installed")
    plot = tmp_path / "responses.png"
    assert main(["responses", str(shared / "weights" / "resnet18.pth"), str(few_photos), "--plot", str(plot)]) == 0
    with Image.open(plot) as image:
        assert image.size == (800, 600)
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10, "an empty picture"


def test_without_matplotlib_a_plot_says_what_to_install_before_anything_is_measured(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # what Python itself does to forbid an import
    nowhere = str(tmp_path / "none.pth")
    assert main(["responses", nowhere, str(tmp_path), "--plot", str(tmp_path / "responses.png")]) == 1
    assert "pip install matplotlib" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_or_photo_is_one_line(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(shared / "weights" / "resnet18.pth")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    for arguments, message in (
        ([str(tmp_path / "broken.jpg"), str(tmp_path)], "broken.jpg: damaged, or not a file written by torch.save"),
        ([weights, str(tmp_path / "empty")], "no images here"),
        ([weights, str(tmp_path)], "broken.jpg"),
    ):
        assert main(["responses", *arguments]) == 1
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("error: ") == 1
