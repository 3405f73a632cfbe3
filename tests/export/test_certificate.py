"""The certificate beside the artefact: the same as in it, as JSON and as a page."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from export.certificate import documents
from models.hashing import sha256
from service.contract import Certificate, Evaluation, Quantization
from service.repository import find
from tests.export.conftest import contract_of


@pytest.fixture(scope="module")
def folder(trained: Path) -> Path:
    return find(trained, "resnet18").path.parent


def test_the_json_says_what_the_artefact_carries_and_which_artefact(folder: Path, shared: Path) -> None:
    contract = contract_of(folder / "model.onnx")
    told = json.loads((folder / "certificate.json").read_text())
    assert Certificate.model_validate(told) == contract.certificate
    assert told["artefact"]["sha256"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert told["artefact"]["bytes"] == (folder / "model.onnx").stat().st_size
    assert told["weights"] == {"name": "resnet18.pth", "sha256": sha256(shared / "weights" / "resnet18.pth")}
    assert told["created"] == contract.created
    assert {"python", "torch", "onnxruntime"} <= set(told["versions"])


def test_the_page_has_a_row_for_each_comparison(folder: Path, shared: Path) -> None:
    page = (folder / "certificate.md").read_text()
    rows = re.findall(r"^\| float32 \| (\d+) \| (on|off) \| (\S+) \| (\S+) \| 100% \|$", page, re.MULTILINE)
    assert {(int(size), level) for size, level, *_ in rows} == {(n, o) for n in (1, 2, 3, 8) for o in ("on", "off")}
    assert all(0 < float(mean) <= float(largest) < 1e-5 for *_, largest, mean in rows)
    assert sha256(shared / "weights" / "resnet18.pth") in page
    assert "1e-04 is the most that was allowed" in page


def test_what_is_known_of_int8_is_on_the_page(folder: Path) -> None:
    contract = contract_of(folder / "model.onnx")
    assert contract.certificate is not None
    quantization = Quantization(method="min-max", images=100, held_out=50, divergence=0.0123, top1_agreement=0.98)
    seen = Evaluation(
        precision="int8", images=40, top1_agreement=0.975, max_difference=0.2, mean_difference=1e-4, labelled=40,
        top1=0.7, top5=0.9,
    )  # fmt: skip
    certificate = contract.certificate.model_copy(update={"quantization": quantization, "evaluations": (seen,)})
    other = contract.model_copy(update={"precision": "int8", "certificate": certificate})
    page = documents(other, b"")["certificate.md"].decode()
    assert "Calibrated on 50 images (activations' ranges: min-max)" in page
    assert "| int8 | 40 | 97.5% | 2.0e-01 | 1.0e-04 | 70.0% | 90.0% |" in page
    assert "it has no such bound" in page
