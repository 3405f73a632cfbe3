"""How a precision does on given images, and what may be lost of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from export.__main__ import main
from export.agreement import evaluate, insist_on_accuracy
from export.errors import BadInput, VerificationFailed
from export.graph import probabilities
from export.half import to_fp16
from export.images import synthetic_images
from export.photos import Photo
from export.precision import FP16_TOLERANCE
from service.contract import Evaluation
from service.repository import find
from tests.export.conftest import SMALL, Graph, contract_of

IMAGES = synthetic_images(16, SMALL.crop, seed=5)
AS_IS = SMALL.model_copy(update={"resize": SMALL.crop})  # neither resized nor cropped


def save(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGES[number]).save(path)
    return path


def test_what_is_right_and_what_agrees_is_counted_without_what_does_not_decode(resnet18: Graph, tmp_path: Path) -> None:
    answers = probabilities(resnet18.model, IMAGES[:8]).argmax(axis=1)
    photos = [
        Photo(save(tmp_path / f"{n}.png", n), f"{n}.png", int(answer) if n < 6 else int(answer + 1) % 10)
        for n, answer in enumerate(answers)
    ]
    (tmp_path / "broken.png").write_bytes(b"broken")
    broken = Photo(tmp_path / "broken.png", "broken.png", 0)
    said: list[str] = []
    graphs = {"fp32": resnet18.model, "fp16": to_fp16(resnet18.model)}
    plain, half = evaluate(graphs, resnet18.network, [*photos, broken], AS_IS, warn=said.append)
    assert (plain.precision, plain.images, plain.labelled, plain.top1_agreement, plain.top1) == ("fp32", 8, 8, 1, 0.75)
    assert plain.top5 is not None
    assert plain.top5 >= 0.75
    assert 0 < plain.max_difference < 1e-5 < half.max_difference < 5e-3
    assert half.precision == "fp16"
    assert 0 < half.mean_difference < half.max_difference
    assert len(said) == 1
    with pytest.raises(BadInput, match="none of the images"):
        evaluate(graphs, resnet18.network, [broken], AS_IS, warn=said.append)


def test_without_labels_there_is_agreement_and_no_accuracy(resnet18: Graph, tmp_path: Path) -> None:
    photos = [Photo(save(tmp_path / "a.png", 1), "a.png", None)]
    (found,) = evaluate({"fp32": resnet18.model}, resnet18.network, photos, AS_IS, warn=lambda line: None)
    assert (found.top1_agreement, found.labelled, found.top1, found.top5) == (1, 0, None, None)


@pytest.mark.parametrize(("top1", "allowed"), [(0.795, True), (0.79, False), (0.9, True)])
def test_a_drop_of_just_what_is_allowed_passes(top1: float, allowed: bool) -> None:
    same = {"images": 200, "top1_agreement": 1, "max_difference": 0, "mean_difference": 0, "labelled": 200}
    evaluations = [Evaluation(precision="fp32", top1=0.8, **same), Evaluation(precision="int8", top1=top1, **same)]
    if allowed:
        insist_on_accuracy(evaluations, "int8", 0.5)
    else:
        with pytest.raises(VerificationFailed, match=r"1\.0 points lost, --max-drop allows 0\.5; nothing was written"):
            insist_on_accuracy(evaluations, "int8", 0.5)


def test_what_may_be_lost_is_asked_for_with_the_images_to_lose_it_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["resnet18", "--weights", "untrained", "--output", str(tmp_path / "out"), "--precision", "fp16"]
    assert main([*command, "--max-drop", "1"]) == 2
    assert "needs --evaluate DIR" in capsys.readouterr().err


@pytest.mark.slow  # exports twice; what it does is in the tests above, and in test_half.py
def test_an_fp16_artefact_is_verified_and_not_written_where_more_is_lost_than_may_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Float16 loses next to nothing, so the budget that it breaks is one below zero."""
    for number in range(16):
        save(tmp_path / "photos" / str(number) / f"{number}.png", number)
    command = ["resnet18", "--weights", "untrained", "--crop", "64", "--resize", "72"]
    command += ["--output", str(tmp_path / "out"), "--precision", "fp16", "--evaluate", str(tmp_path / "photos")]
    assert main([*command, "--max-drop", "100"]) == 0
    assert "top-1" in capsys.readouterr().err
    path = find(tmp_path / "out", "resnet18").path
    contract = contract_of(path)
    certificate = contract.certificate
    assert contract.precision == "fp16"
    assert certificate is not None
    assert certificate.tolerance == FP16_TOLERANCE
    assert 1e-6 < certificate.max_difference("fp16") < FP16_TOLERANCE
    assert [(each.precision, each.images, each.labelled) for each in certificate.evaluations] == [
        ("fp32", 16, 16),
        ("fp16", 16, 16),
    ]
    told = json.loads((path.parent / "certificate.json").read_text())
    assert told["evaluations"] == [each.model_dump() for each in certificate.evaluations]
    assert main([*command, "--max-drop", "100", "--if-missing"]) == 0
    assert "there already" in capsys.readouterr().out
    assert main([*command, "--max-drop", "-1", "--if-missing"]) == 4  # what is there was not held to this
    assert "--max-drop allows -1; nothing was written" in capsys.readouterr().err
    assert list((tmp_path / "out" / "resnet18").iterdir()) == [path.parent]
