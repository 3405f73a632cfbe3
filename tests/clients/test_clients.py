"""The Open Inference Protocol's own clients, unmodified, against a real server: the answers of /classify.

They are installed in an environment of their own (make clients), since what they require does not go with ours.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.contract import Preprocessing
from service.image import Decoder
from tests.conftest import ROOT, missing
from tests.service.api.greys import grey, in_base64
from tests.service.artefacts import write_brightness
from tests.service.serving import MAINLY_SEVERAL, serving

PYTHON = Path(os.environ.get("RESNET_TEST_CLIENTS", ROOT / "build" / "clients")) / "bin" / "python"
LEVELS = (7, 200, 100)


@pytest.fixture(scope="module", params=MAINLY_SEVERAL)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    repository = tmp_path_factory.mktemp("clients")
    write_brightness(repository, version=3)
    with serving(repository, *request.param) as service:
        yield service.url


def drive(
    client: str, url: str, folder: Path, files: list[bytes], model: str, crop: int, resize: int
) -> dict[str, Any]:
    """Have `client` ask about `files`, encoded and decoded; return what it was told."""
    if not PYTHON.is_file():
        missing(f"no clients at {PYTHON.parent.parent}: make clients")
    decoder = Decoder(Preprocessing(resize=resize, crop=crop, mean=(0, 0, 0), std=(1, 1, 1)))
    for index, file in enumerate(files):
        (folder / f"{index}.img").write_bytes(file)
    np.save(folder / "pixels.npy", np.stack([decoder.decode(file) for file in files]))
    command = [str(PYTHON), str(Path(__file__).with_name(f"drive_{client}.py")), url, str(folder), model]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    told: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return told


def classified(url: str, files: list[bytes], classes: int) -> NDArray[np.float32]:
    """Return what /classify/batch says of the same files, (N, classes)."""
    body = {"images": [in_base64(file) for file in files]}
    response = httpx.post(f"{url}/classify/batch?top_k={classes}", json=body, timeout=60).raise_for_status()
    rows = np.zeros((len(files), classes), np.float32)
    for row, result in zip(rows, response.json()["results"], strict=True):
        for prediction in result["predictions"]:
            row[prediction["index"]] = prediction["probability"]
    return rows


def agree(answers: dict[str, Any], expected: NDArray[np.float32]) -> None:
    """Check each answer, about all images or the first, against what /classify says, as far as its digits go."""
    for way, answer in answers.items():
        rows = np.array(answer, np.float32)
        assert rows.shape == expected[: len(rows)].shape, way
        assert np.allclose(rows, expected[: len(rows)], rtol=1e-4, atol=1e-6), way
        assert (rows.argmax(axis=1) == expected[: len(rows)].argmax(axis=1)).all(), way


def test_tritonclient_gets_the_answers_of_classify(url: str, tmp_path: Path) -> None:
    files = [grey(level) for level in LEVELS]
    told = drive("triton", url.removeprefix("http://"), tmp_path, files, "brightness", crop=32, resize=32)
    expected = classified(url, files, 256)
    assert (told["live"], told["ready"], told["model ready"], told["other ready"]) == (True, True, True, False)
    assert len(told["answers"]) == 18
    agree(told["answers"] | {f"async {index}": [row] for index, row in enumerate(told["async"])}, expected)
    assert [row[0].split(":")[1:] for row in told["classes"]] == [[str(level), f"grey {level}"] for level in LEVELS]
    assert told["server"]["name"] == "resnet-serve"
    assert told["model"]["inputs"][0] == {"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}
    assert told["config"]["max_batch_size"] == 64
    assert told["index"] == [{"name": "brightness", "version": "3", "state": "READY", "reason": ""}]
    every, of_model, of_version = told["statistics"]
    assert every == of_model == of_version
    assert (every["name"], every["version"]) == ("brightness", "3")
    # By then: each way with one image and with all, compressed twice, and the classes.
    assert every["answered"] == 16 + 2 + 1
    assert every["images"] == every["run by size"] == 8 + (8 + 2 + 1) * len(LEVELS)
    said = {what: (status, message.split(" ")[0]) for what, (status, message) in told["failures"].items()}
    assert said == {
        "shape": ("400", "image"),
        "garbage": ("415", "encoded_image[0]:"),
        "model": ("404", "nobody"),
        "version": ("404", "brightness:9"),
        "load": ("403", "loading"),
        "metadata": ("404", "nobody"),
    }


def test_the_client_of_kserve_gets_the_answers_of_classify(url: str, tmp_path: Path) -> None:
    files = [grey(level) for level in LEVELS]
    told = drive("kserve", url, tmp_path, files, "brightness", crop=32, resize=32)
    assert (told["live"], told["ready"], told["model ready"], told["other ready"]) == (True, True, True, False)
    assert len(told["answers"]) == 16
    agree(told["answers"], classified(url, files, 256))
    said = {what: (status, message.split(" ")[0]) for what, (status, message) in told["failures"].items()}
    assert said == {"shape": ("400", "image"), "garbage": ("415", "encoded_image[0]:"), "model": ("404", "nobody")}


@pytest.mark.slow  # starts a trained network and a client of its own; service/test_accuracy.py asks by /classify
def test_photos_are_classified_by_a_trained_network_as_classify_does_it(
    trained: Path, shared: Path, tmp_path: Path
) -> None:
    photos = [path.read_bytes() for path in sorted((shared / "images").glob("*.JPEG"))[:2]]
    with serving(trained, "--model", "resnet18") as service:
        told = drive("triton", service.url.removeprefix("http://"), tmp_path, photos, "resnet18", crop=224, resize=256)
        agree(told["answers"], classified(service.url, photos, 1000))
