"""The client against a real service: whatever a caller has is classified, and each failure is an error of its kind."""

from __future__ import annotations

import asyncio
import io
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.api import schemas
from service.client import (
    AsyncClient,
    Classification,
    Client,
    CorruptImage,
    ModelInfo,
    Outcome,
    Prediction,
    Source,
    TooLarge,
    Unauthorized,
    Unprocessable,
    UnsupportedImage,
)
from service.client.images import encoded
from tests.conftest import ROOT
from tests.service.api.greys import grey
from tests.service.apps import FakeEngine, rows_for, served
from tests.service.client.conftest import KEY
from tests.service.images import exif, scene
from tests.service.serving import Service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, api_key=KEY) as client:
        yield client


def sources(folder: Path, level: int) -> dict[str, Source]:
    path = folder / f"{level}.png"
    path.write_bytes(grey(level))
    image = Image.new("L", (40, 30), level)
    pixels = np.full((30, 40, 3), level, np.uint8)
    return {
        "path": path,
        "name": str(path),
        "bytes": grey(level, "JPEG"),
        "bytearray": bytearray(grey(level)),
        "memoryview": memoryview(grey(level)),
        "file": io.BytesIO(grey(level, "BMP")),
        "picture": image,
        "picture without PNG": image.convert("RGB").convert("YCbCr"),
        "palette": image.convert("P"),
        "array": pixels,
        "grey array": pixels[..., 0],
        "array that lies about": np.asfortranarray(pixels),
        "opaque array": np.dstack([pixels, np.full((30, 40, 1), 255, np.uint8)]),
    }


def test_whatever_a_caller_has_is_classified(client: Client, tmp_path: Path) -> None:
    for name, source in sources(tmp_path, 90).items():
        assert abs(client.classify(source).top.index - 90) <= 1, name  # YCbCr and JPEG may be one off


def test_an_event_loop_gets_the_same_answers(service: Service, client: Client, tmp_path: Path) -> None:
    async def main() -> dict[str, Classification]:
        async with AsyncClient(service.url, api_key=KEY) as asked:
            return {name: await asked.classify(source) for name, source in sources(tmp_path, 91).items()}

    answers = asyncio.run(main())
    for name, source in sources(tmp_path, 91).items():
        answer = client.classify(source)
        assert (answer.model, answer.predictions) == (answers[name].model, answers[name].predictions), name


def test_an_answer_is_typed(client: Client) -> None:
    answer = client.classify(grey(137), top_k=2)
    assert answer.model == ModelInfo("brightness", "3", "fp32", "made by hand")
    assert answer.model.trained
    assert answer.top == Prediction(137, None, "grey 137", pytest.approx(0.564, abs=0.001))
    assert [prediction.index for prediction in answer.predictions] in ([137, 136], [137, 138])
    assert answer.timing is not None
    assert answer.timing.decode_ms > 0
    assert answer.timing.inference_ms > 0


@pytest.mark.parametrize(("mine", "documented"), [(Prediction, "Prediction"), (ModelInfo, "ModelInfo")])
def test_the_types_are_those_of_the_api(mine: Any, documented: str) -> None:
    assert set(mine.__slots__) == set(getattr(schemas, documented).model_fields)


def test_pictures_are_sent_upright_and_arrays_without_loss() -> None:
    pixels = scene(40, 30)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif(6))
    sent = Image.open(io.BytesIO(encoded(Image.open(file))))
    np.testing.assert_array_equal(np.asarray(sent), np.rot90(pixels, -1))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encoded(pixels)))), pixels)


@pytest.mark.parametrize(
    "nonsense", [5, None, np.zeros((3, 4), np.float32), np.zeros((2, 3, 4, 3), np.uint8), io.StringIO("text")]
)
def test_what_is_no_image_of_any_kind_is_a_type_error(client: Client, nonsense: Any) -> None:
    with pytest.raises(TypeError):
        client.classify(nonsense)


def test_a_refusal_is_an_error_of_the_service_itself(client: Client, service: Service) -> None:
    for kind, image, top_k in [
        (UnsupportedImage, b"no image", None),
        (CorruptImage, grey(1)[:-30], None),
        (Unprocessable, grey(1), 257),
        (TooLarge, bytes(21 << 20), None),
    ]:
        with pytest.raises(kind) as refused:
            client.classify(image, top_k=top_k)
        assert type(refused.value) is kind
        assert refused.value.request_id
    with Client(service.url) as stranger, pytest.raises(Unauthorized):
        stranger.classify(grey(1))


def test_many_are_answered_in_their_order_and_one_that_fails_harms_no_other(client: Client, tmp_path: Path) -> None:
    images: list[Source] = [grey(level) for level in range(0, 250, 5)]
    images[7], images[9] = b"no image", tmp_path / "nowhere.png"
    outcomes = list(client.classify_many(images, concurrency=5))
    assert [outcome.image for outcome in outcomes] == images
    assert [outcome.result.top.index if outcome.result else -1 for outcome in outcomes] == [
        -1 if index in (7, 9) else index * 5 for index in range(50)
    ]
    assert isinstance(outcomes[7].error, UnsupportedImage)
    assert isinstance(outcomes[9].error, FileNotFoundError)
    with pytest.raises(UnsupportedImage):
        outcomes[7].unwrap()


def test_an_event_loop_gets_many_in_their_order_too(service: Service) -> None:
    async def main() -> list[Outcome]:
        async with AsyncClient(service.url, api_key=KEY) as client:
            images = [*map(grey, range(40)), b"no image"]
            return [outcome async for outcome in client.classify_many(images, top_k=1, concurrency=6)]

    outcomes = asyncio.run(main())
    assert [outcome.unwrap().top.index for outcome in outcomes[:-1]] == list(range(40))
    assert isinstance(outcomes[-1].error, UnsupportedImage)


class Counting:
    """An `infer` that says how many images were in the service at once."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        with self._lock:
            self._now += len(images)
            self.most = max(self.most, self._now)
        time.sleep(0.01)
        with self._lock:
            self._now -= len(images)
        return rows_for(images)


def test_no_more_are_under_way_than_allowed_and_none_is_read_far_ahead() -> None:
    infer = Counting()
    taken = []

    def endless() -> Iterator[bytes]:
        for number in itertools.count():
            taken.append(number)
            yield grey(number % 256)

    async def ten(url: str) -> list[Outcome]:
        async with AsyncClient(url) as client:
            found: list[Outcome] = []
            many = client.classify_many(endless(), concurrency=3)
            async for outcome in many:
                found.append(outcome)
                if len(found) == 10:
                    break
            await many.aclose()  # type: ignore[attr-defined]
            return found

    with served(FakeEngine(infer, lanes=8)) as url:
        with Client(url) as client:
            found = list(itertools.islice(client.classify_many(endless(), concurrency=3), 10))
        assert len(taken) <= 10 + 3 * 4
        found += asyncio.run(ten(url))
    assert [outcome.unwrap().top.index for outcome in found] == [*range(10)] * 2
    assert 1 < infer.most <= 3
    assert len(taken) <= 2 * (10 + 3 * 4)


def test_progress_is_shown_on_stderr_for_who_wants_it(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    images = [grey(level) for level in range(8)]
    list(client.classify_many(images))
    assert capsys.readouterr() == ("", "")
    list(client.classify_many(images, progress=True))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "/8 [" in shown.err


NEEDS_LITTLE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"fastapi", "starlette", "uvicorn", "onnxruntime", "numpy", "PIL", "pydantic", "zmq"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from service.client.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_asking_a_service_needs_neither_a_runtime_nor_a_server_nor_pillow(service: Service, tmp_path: Path) -> None:
    image, key = tmp_path / "a.png", tmp_path / "key"
    image.write_bytes(grey(33))
    key.write_text(KEY)
    command = [sys.executable, "-c", NEEDS_LITTLE, str(image), "--url", service.url, "--api-key-file", str(key)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "grey 33" in result.stdout
