"""The command line, run as a user runs it: a process, an exit code, what it prints and what it leaves."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.__main__ import main
from export.images import synthetic_images
from export.labels import read_labels
from export.request import Request, find_existing
from export.verify import reference
from models import zoo
from service.contract import Label
from tests.conftest import ROOT
from tests.export.conftest import contract_of, probabilities

SMALL = ["--crop", "64", "--resize", "72"]
UNTRAINED = ["resnet18", "--weights", "untrained", *SMALL]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "export", *map(str, arguments)]


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """An environment whose weights cache is empty and whose network is not there."""
    return os.environ | {"TORCH_HOME": str(folder / "torch"), "RESNET_WEIGHTS_MIRROR": refusing_address()} | changes


def refusing_address() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def run(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, env=environment(folder), capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one artefact, exported by the command line: untrained, three classes."""
    folder = tmp_path_factory.mktemp("repository")
    labels = folder / "labels.txt"
    labels.write_text("lion\ntabby cat\nlynx\n")
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):  # PyTorch is loaded here: a process would take twice as long
        code = main(again(folder, "--seed", "5"))
    assert code == 0, err.getvalue()
    (folder / "stdout").write_text(out.getvalue())
    (folder / "stderr").write_text(err.getvalue())
    return folder


def again(repository: Path, *arguments: str) -> list[str]:
    labels, output = str(repository / "labels.txt"), str(repository / "artifacts")
    return [*UNTRAINED, "--labels", labels, "--name", "cats", "--output", output, *arguments]


def test_the_last_line_says_where_how_large_and_how_far_from_pytorch(repository: Path) -> None:
    path = repository / "artifacts" / "cats" / "1" / "model.onnx"
    wrote = re.fullmatch(
        rf"wrote {path} \((\d+\.\d) MB, largest difference from PyTorch (\S+)\)\n", (repository / "stdout").read_text()
    )
    assert wrote is not None
    assert float(wrote[1]) == pytest.approx(path.stat().st_size / 1e6, abs=0.06)
    certificate = contract_of(path).certificate
    assert certificate is not None
    assert wrote[2] == f"{certificate.max_difference('fp32'):.1e}"
    assert float(wrote[2]) < 1e-5


def test_each_step_is_a_line_and_untrained_weights_are_a_loud_one(repository: Path) -> None:
    lines = (repository / "stderr").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["weights", "WARNING:", "labels", "graph", "verified"]
    assert "UNTRAINED (random, seed 5): every prediction will be meaningless" in lines[1]
    assert "in batches of 1, 2, 3, 8, optimisations off and on" in lines[4]


def test_the_artefact_carries_its_contract(repository: Path) -> None:
    contract = contract_of(repository / "artifacts" / "cats" / "1" / "model.onnx")
    assert (contract.name, contract.architecture, contract.precision) == ("cats", "resnet18", "fp32")
    assert contract.labels == (Label(label="lion"), Label(label="tabby cat"), Label(label="lynx"))
    assert not contract.weights.trained
    assert (contract.preprocessing.resize, contract.preprocessing.crop) == (72, 64)
    assert contract.preprocessing.mean == (0.485, 0.456, 0.406)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", contract.created)
    assert {"python", "torch", "onnx", "onnxruntime"} <= set(contract.versions)
    assert contract.certificate is not None
    assert {(check.batch_size, check.optimized) for check in contract.certificate.checks} == {
        (size, optimized) for size in (1, 2, 3, 8) for optimized in (False, True)
    }


def test_the_artefact_computes_what_the_seeded_network_does(repository: Path) -> None:
    path = repository / "artifacts" / "cats" / "1" / "model.onnx"
    images = synthetic_images(5, 64, seed=99)  # a batch size and images that no verification has seen
    network = zoo.create("resnet18", num_classes=3, seed=5).eval()
    want = reference(network, contract_of(path).preprocessing, images)
    assert np.abs(probabilities(path, images) - want).max() < 1e-5


def test_if_missing_finds_the_same_settings_without_loading_pytorch(repository: Path) -> None:
    program = (
        "import sys; from export.__main__ import main\n"
        "code = main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules, 'PyTorch was loaded'\n"
        "sys.exit(code)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, *again(repository, "--seed", "5", "--if-missing")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (0, "")
    assert "cats/1/model.onnx is there already" in found.stdout


@pytest.mark.slow  # exports another network: five seconds
def test_a_head_of_ones_own_without_labels_has_numbered_classes_and_says_so(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = zoo.create("resnet18", num_classes=4, seed=0)
    network.state_dict()["fc.weight"].mul_(1e4)  # a network that is always certain
    torch.save({"model": network.state_dict()}, tmp_path / "birds.pth")
    output = repository / "artifacts"
    arguments = ["auto", "--weights", str(tmp_path / "birds.pth"), *SMALL, "--name", "cats", "--output", str(output)]
    assert main([*arguments, "--if-missing", "--quiet"]) == 0  # version 1 is of other settings
    assert capsys.readouterr().err.splitlines() == [  # quiet or not
        "WARNING: no --labels given: the 4 classes are called 'class 0' and so on",
        "WARNING: the network answers every test image with 0 or 1, so the comparison with PyTorch shows little",
    ]
    contract = contract_of(output / "cats" / "2" / "model.onnx")
    assert [label.label for label in contract.labels] == ["class 0", "class 1", "class 2", "class 3"]
    assert (contract.architecture, contract.weights.name) == ("resnet18", "birds.pth")

    assert main([*arguments, "--if-missing"]) == 0
    assert "cats/2/model.onnx is there already" in capsys.readouterr().out
    assert main(again(repository, "--seed", "5", "--if-missing", "--version", "1")) == 0
    assert "cats/1/model.onnx is there already" in capsys.readouterr().out


def test_if_missing_is_not_taken_in_by_a_damaged_or_foreign_artefact(repository: Path, tmp_path: Path) -> None:
    request = Request(architecture="resnet18", name="cats", output=tmp_path)
    path = tmp_path / "cats" / "4" / "model.onnx"
    path.parent.mkdir(parents=True)
    for content in (b"", b"\x08\x0a not a model", onnx.ModelProto().SerializeToString()):
        path.write_bytes(content)
        assert find_existing(request) is None
    shutil.copy(repository / "artifacts" / "cats" / "1" / "model.onnx", path)
    assert find_existing(request) is None  # of other settings
    labels = read_labels(repository / "labels.txt")
    same = replace(request, weights="untrained", seed=5, labels=labels, crop=64, resize=72)
    assert find_existing(same) == path
    for other in ({"seed": 0}, {"crop": 60}, {"labels": labels[::-1]}, {"mean": (0.5, 0.5, 0.5)}):
        assert find_existing(replace(same, **other)) is None
    content = path.read_bytes()
    path.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    assert find_existing(same) is None  # the service would not take it, so it is exported again


def test_no_network_is_one_line_with_three_ways_out_and_an_exit_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    assert main(["resnet50", "--output", str(tmp_path / "artifacts")]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("resnet-export: error: IMAGENET1K_V2 could not be downloaded (http://127.0.0.1:")
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "resnet50-11ad3fa6.pth"
    assert f"--weights PATH, or put it at {cached}" in line
    assert "RESNET_WEIGHTS_MIRROR" in line
    assert "--weights untrained" in line
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["resnet19"], "unknown architecture 'resnet19': choose from resnet18"),
        (["resnet18", "--weights", "IMAGENET1K_V2"], "--weights takes IMAGENET1K_V1, a file's path, untrained"),
        (["plain34"], "no official weights for plain34: --weights takes a file's path, untrained"),
        (["auto"], "auto needs a checkpoint to tell the architecture from"),
        (["resnet18", "--weights", "missing.pth"], "missing.pth: No such file or directory"),
        (["resnet18", "--weights", "pyproject.toml"], "pyproject.toml: damaged, or not a file written by torch.save"),
        (["resnet18", "--labels", "missing.txt"], "missing.txt: No such file or directory"),
        (["resnet18", "--weights", "untrained", "--crop", "300"], "the crop must fit"),
        (["resnet18", "--weights", "untrained", "--std", "0.1", "0", "0.1"], "pixels are divided by it"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--output", str(tmp_path / "artifacts"), "--quiet"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 1
    assert lines[0].startswith("resnet-export: error: ")
    assert reason in lines[0]
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("flag", ["--name=a/b", "--name=.hidden", "--version=0", "--crop=-1", "--precision=fp8"])
def test_flags_that_make_no_sense_are_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main([*UNTRAINED, flag])
    assert refused.value.code == 2
    assert flag.partition("=")[0] in capsys.readouterr().err


def test_an_existing_version_is_kept_without_force_and_that_is_known_before_the_work(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = repository / "artifacts" / "cats" / "1" / "model.onnx"
    before = path.read_bytes()
    assert main(again(repository, "--version", "1")) == 5
    (line,) = capsys.readouterr().err.splitlines()  # no step was begun
    assert "version 1 of cats exists" in line
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_a_stopped_export_leaves_nothing(number: signal.Signals, code: int, tmp_path: Path) -> None:
    arguments = command(*UNTRAINED, "--output", tmp_path / "artifacts")
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as export:
        assert export.stderr is not None
        while not (line := export.stderr.readline()).startswith("labels"):
            assert line, "it ended too soon"
        export.send_signal(number)  # while the graph is being made
        out, err = export.communicate(timeout=60)
    assert export.returncode == code
    assert out == ""
    assert "Traceback" not in err
    stopped = f"resnet-export: stopped by {number.name}; no half-written artefact is left behind"
    assert err.splitlines()[-1] == stopped
    assert not (tmp_path / "artifacts").exists()


def test_help_shows_examples_and_exit_codes(tmp_path: Path) -> None:
    shown = run("--help", folder=tmp_path)
    assert shown.returncode == 0
    assert "resnet-export auto --weights model.safetensors" in shown.stdout
    assert "3 official weights could not be downloaded" in shown.stdout
