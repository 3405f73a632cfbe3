"""`resnet-serve`: what it says when it cannot start, and how it starts and stops when it can."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import httpx
import onnx
import onnxruntime
import pytest

from service.contract import METADATA_KEY
from service.settings import Settings
from tests.conftest import ROOT, missing
from tests.service.api.greys import grey, top
from tests.service.apps import eventually
from tests.service.artefacts import write_brightness, write_mean
from tests.service.serving import command, environment, serving


def start_in_vain(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `resnet-serve` to its end, which comes by itself."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


# --- refusing to start ---


def test_without_an_artefact_it_says_how_to_make_one(tmp_path: Path) -> None:
    ended = start_in_vain("--artifacts", str(tmp_path))
    assert ended.returncode == 1
    assert ended.stderr == f"resnet-serve: no artefact in {tmp_path}: make one with resnet-export\n"


def test_of_several_models_one_must_be_chosen(tmp_path: Path) -> None:
    write_brightness(tmp_path)
    write_mean(tmp_path, crop=8, classes=3)
    ended = start_in_vain("--artifacts", str(tmp_path))
    assert ended.returncode == 1
    assert ended.stderr == f"resnet-serve: {tmp_path} holds brightness, mean: choose one with --model\n"


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (["--port", "99999"], {}, "--port (or RESNET_PORT)"),
        (["--provider", "tpu"], {}, "'auto', 'cuda', 'tensorrt' or 'cpu'"),
        (["--max-images-per-request", "9999"], {}, "could never be admitted"),
        ([], {"RESNET_MAX_BATCH_SIZE": "many"}, "--max-batch-size (or RESNET_MAX_BATCH_SIZE)"),
        (["--max-bach-size", "3"], {}, "--max-bach-size"),
        (["stray"], {}, "stray"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(
    artifacts: Path, arguments: list[str], variables: dict[str, str], expected: str
) -> None:
    ended = start_in_vain("--artifacts", str(artifacts), *arguments, **variables)
    assert ended.returncode == 2
    assert last_line(ended.stderr).startswith("resnet-serve: ")
    assert expected in last_line(ended.stderr)
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(artifacts: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = start_in_vain("--artifacts", str(artifacts), "--port", str(port))
    assert ended.returncode == 1
    assert "loading" not in ended.stderr
    assert last_line(ended.stderr).startswith(f"resnet-serve: cannot listen on 127.0.0.1, port {port}: Address already")


def test_cuda_that_was_insisted_on_and_is_not_there_is_a_reason_not_to_start(artifacts: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    ended = start_in_vain("--artifacts", str(artifacts), "--port", "0", "--provider", "cuda")
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if "ERROR" in line]
    assert "--provider cuda, but CUDA does not work here" in line
    assert "Traceback" not in ended.stderr


def test_a_file_that_is_no_model_is_a_reason_not_to_start(tmp_path: Path) -> None:
    path = write_brightness(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    ended = start_in_vain("--artifacts", str(tmp_path), "--port", "0")
    assert ended.returncode == 1
    assert f"{path} cannot be loaded" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_model_without_a_contract_is_a_reason_not_to_start(tmp_path: Path) -> None:
    path = write_brightness(tmp_path)
    model = onnx.load(path)
    del model.metadata_props[[entry.key for entry in model.metadata_props].index(METADATA_KEY)]
    onnx.save(model, path)
    ended = start_in_vain("--artifacts", str(tmp_path), "--port", "0")
    assert ended.returncode == 1
    assert "the file carries no contract: write it with resnet-export" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_that_is_one(tmp_path: Path) -> None:
    ended = start_in_vain(
        "--artifacts",
        str(tmp_path),
        RESNET_MAX_BACH_SIZE="3",
        RESNET_COLOUR="red",
        RESNET_LOG_LEVEL="info",
        RESNET_WEIGHTS_MIRROR="http://mirror",
        RESNET_SERVICE_HOST="10.0.0.1",
    )
    assert [line for line in ended.stderr.splitlines() if "no setting" in line] == [
        "resnet-serve: RESNET_COLOUR is no setting, and has no effect",
        "resnet-serve: RESNET_MAX_BACH_SIZE is no setting, and has no effect: did you mean RESNET_MAX_BATCH_SIZE?",
    ]


def test_help_names_every_setting() -> None:
    ended = start_in_vain("--help", COLUMNS="1000")  # no line is broken at a hyphen
    assert ended.returncode == 0
    told = " ".join(ended.stdout.split())  # as it was before it was broken into lines
    for name, field in Settings.model_fields.items():
        assert re.search(rf"--{name.replace('_', '-')}\b[^-]", told)
        assert field.description
        assert field.description in told


# --- starting and stopping ---


def test_it_says_where_it_listens_and_the_command_it_prints_works(artifacts: Path) -> None:
    with serving(artifacts) as service:
        line = next(line for line in service.log.splitlines() if line.startswith("Try it:"))
        answer = subprocess.run(
            line.removeprefix("Try it:").split(), cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
        ).stdout
        assert '"predictions": [{' in answer
        assert f"Serving brightness (weights: made by hand) on {service.url}" in service.log


def test_untrained_weights_are_said_to_be_untrained_wherever_one_could_be_misled(tmp_path: Path) -> None:
    write_brightness(tmp_path, version=2, weights="untrained")
    write_brightness(tmp_path, version=10)
    with serving(tmp_path, env=environment(RESNET_MODEL="brightness:2")) as service:
        assert "UNTRAINED" in service.log
        assert httpx.get(f"{service.url}/healthz").json()["model"]["weights"] == "untrained"
        answer = httpx.post(f"{service.url}/classify", content=grey(1)).json()
        assert answer["model"]["weights"] == "untrained"


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stop_answers_who_is_in_and_ends_with_0(tmp_path: Path, number: int) -> None:
    write_brightness(tmp_path)
    with serving(tmp_path, "--max-queue-delay-ms", "600") as service:
        answers: list[int] = []

        def ask() -> None:
            answers.append(top(httpx.post(f"{service.url}/classify", content=grey(42)).json()["predictions"]))

        asking = threading.Thread(target=ask)
        asking.start()
        while asking.is_alive() and httpx.get(f"{service.url}/healthz").json()["queue_depth"] == 0:
            time.sleep(0.01)
        os.kill(service.pid, number)
        asking.join(10)
        assert service.process.wait(10) == 0
    assert answers == [42]


def test_on_ipv6_with_a_log_line_for_every_request(artifacts: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        missing("no IPv6 on this machine")
    with serving(artifacts, "--host", "::1", "--access-log") as service:
        assert service.url.startswith("http://[::1]:")
        assert httpx.post(f"{service.url}/classify", content=grey(1)).status_code == 200
        line = " INFO service.access: ::1 POST /classify 200 answered "
        assert eventually(lambda: line in service.log)  # written after the answer
