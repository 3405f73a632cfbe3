"""`resnet-classify` as a person or a script runs it: online and offline, its formats, its exit codes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.client.inputs import InputError, gathered
from service.client.offline import OfflineClient, located
from service.errors import CorruptImage, StartError
from tests.conftest import ROOT
from tests.project.serving import free_port
from tests.service.api.greys import grey
from tests.service.artefacts import write_brightness
from tests.service.client.conftest import KEY
from tests.service.serving import Service, environment


def classify(*arguments: str | Path, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command; what it writes comes as text."""
    command = [sys.executable, "-m", "service.client", *map(str, arguments)]
    result = subprocess.run(
        command, cwd=ROOT, env=environment(**env), input=stdin, capture_output=True, timeout=60, check=False
    )
    return subprocess.CompletedProcess(command, result.returncode, result.stdout.decode(), result.stderr.decode())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three images, and other things."""
    folder = tmp_path / "photos"
    (folder / "more" / ".hidden").mkdir(parents=True)
    for name, level in (("b.JPG", 20), ("a.png", 10), ("more/c.webp", 30), ("more/.hidden/d.png", 40)):
        kind = {"JPG": "JPEG", "png": "PNG", "webp": "WebP"}[name.rpartition(".")[2]]
        (folder / name).write_bytes(grey(level, kind))
    (folder / "notes.txt").write_text("none")
    return folder


@pytest.fixture(params=["online", "offline"])
def asked(request: pytest.FixtureRequest, artifacts: Path) -> list[str]:
    """Whom to ask, as arguments; with RESNET_API_KEY of the service in the environment."""
    if request.param == "offline":
        return ["--artifact", str(artifacts / "brightness")]
    service: Service = request.getfixturevalue("service")
    return ["--url", service.url]


def test_a_folder_and_files_are_a_table_for_people(asked: list[str], photos: Path, tmp_path: Path) -> None:
    (tmp_path / "d.png").write_bytes(grey(40))
    result = classify(photos, tmp_path / "d.png", "--top-k", "1", *asked, RESNET_API_KEY=KEY)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    names = ["photos/a.png", "photos/b.JPG", "photos/more/c.webp", "d.png"]
    assert lines[::2] == [str(tmp_path / name) for name in names]
    assert [line.split()[-2:] for line in lines[1::2]] == [["grey", str(level)] for level in (10, 20, 30, 40)]
    assert all("56.4" in line and "▇▇▇▇▇▇▇▇▇▇▇" in line for line in lines[1::2])


def test_json_is_a_document_a_line_and_csv_a_row_for_each_class(asked: list[str], photos: Path) -> None:
    (photos / "broken.png").write_bytes(grey(1)[:-30])
    result = classify(photos, "--format", "json", *asked, RESNET_API_KEY=KEY)
    assert result.returncode == 1
    assert "1 of 4 images" in result.stderr
    a, _, broken, _ = map(json.loads, result.stdout.splitlines())
    assert set(a) == {"image", "model", "predictions"}
    assert (a["model"]["name"], a["predictions"][0]["index"], len(a["predictions"])) == ("brightness", 10, 5)
    assert (broken["image"], broken["problem"]["status"]) == (str(photos / "broken.png"), 422)

    result = classify(photos, "--format", "csv", "--top-k", "2", *asked, RESNET_API_KEY=KEY)
    assert result.returncode == 1
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["rank"], row["label"]) for row in rows[:2]] == [("1", "grey 10"), ("2", rows[1]["label"])]
    assert [row["error"] != "" for row in rows] == [False] * 4 + [True] + [False] * 2


def test_offline_answers_are_those_of_the_service(service: Service, photos: Path, artifacts: Path) -> None:
    online = classify(photos, "--format", "json", "--url", service.url, RESNET_API_KEY=KEY)
    offline = classify(photos, "--format", "json", "--artifact", artifacts / "brightness" / "3" / "model.onnx")
    assert online.stdout == offline.stdout
    assert online.stdout


def test_an_image_or_a_list_of_files_comes_on_stdin(asked: list[str], photos: Path) -> None:
    result = classify("-", "--top-k", "1", *asked, stdin=grey(77), RESNET_API_KEY=KEY)
    assert result.stdout.startswith("stdin\n")
    assert "grey 77" in result.stdout
    listed = f"{photos / 'b.JPG'}\n\n{photos / 'a.png'}\n".encode()
    result = classify("--files-from", "-", "--format", "csv", "--top-k", "1", *asked, stdin=listed, RESNET_API_KEY=KEY)
    assert [row["label"] for row in csv.DictReader(io.StringIO(result.stdout))] == ["grey 20", "grey 10"]


def test_a_person_at_a_terminal_sees_progress_and_a_pipe_only_the_answers(
    photos: Path, artifacts: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.client.__main__ import main

    arguments = [str(photos), "--artifact", str(artifacts), "--format", "json"]
    assert main(arguments) == 0
    piped = capfd.readouterr()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(arguments) == 0
    seen = capfd.readouterr()
    assert piped.err == ""
    assert "/3 [" in seen.err
    assert seen.out == piped.out
    assert main([*arguments, "--quiet"]) == 0
    assert capfd.readouterr().err == ""


def test_who_reads_no_further_is_no_failure(photos: Path, artifacts: Path) -> None:
    command = f"{sys.executable} -m service.client {photos} --files-from - --artifact {artifacts} | head -n 1"
    many = "\n".join([str(photos / "a.png")] * 2000).encode()
    result = subprocess.run(["sh", "-c", command], cwd=ROOT, input=many, capture_output=True, timeout=60, check=False)
    assert result.stdout.count(b"\n") == 1
    assert result.stderr == b""


def test_untrained_weights_are_warned_of_once(photos: Path, tmp_path: Path) -> None:
    write_brightness(tmp_path / "artifacts", weights="untrained")
    result = classify(photos, "--artifact", tmp_path / "artifacts" / "brightness")
    assert result.returncode == 0
    assert result.stderr.count("UNTRAINED") == 1


def test_nobody_to_ask_is_exit_code_3(photos: Path, service: Service, tmp_path: Path) -> None:
    nobody = classify(photos, "--url", f"http://127.0.0.1:{free_port()}", "--timeout-s", "0.5")
    assert (nobody.returncode, nobody.stdout) == (3, "")
    assert "Unreachable" in nobody.stderr
    stranger = classify(photos, "--url", service.url)
    assert stranger.returncode == 3
    assert "API key" in stranger.stderr
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    for artifact in (tmp_path / "nowhere", tmp_path, tmp_path / "model.onnx"):
        result = classify(photos, "--artifact", artifact)
        assert result.returncode == 3, artifact
        assert result.stderr.startswith("resnet-classify: ")
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name an image"),
        (["nowhere.png"], "there is no nowhere.png"),
        (["requirements"], "no images in requirements"),
        (["--files-from", "nowhere.txt"], "nowhere.txt"),
        (["a.png", "--top-k", "0"], "--top-k"),
        (["a.png", "--top-k", "many"], "--top-k"),
        (["a.png", "--format", "xml"], "xml"),
    ],
)
def test_what_cannot_be_used_is_exit_code_2(arguments: list[str], complaint: str) -> None:
    result = classify(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_too_many_classes_are_complained_of(asked: list[str], photos: Path) -> None:
    result = classify(photos, "--top-k", "257", *asked, RESNET_API_KEY=KEY)
    assert result.returncode == 1
    assert "1 to 256" in result.stdout + result.stderr


def test_help_explains_every_flag_and_exit_code() -> None:
    result = classify("--help")
    assert result.returncode == 0
    for text in ("--top-k", "--artifact", "--url", "--files-from", "--api-key-file", "exit codes:", "examples:"):
        assert text in result.stdout


def test_an_artefact_is_found_by_its_file_its_folder_or_its_repository(tmp_path: Path) -> None:
    for version in (2, 10):
        write_brightness(tmp_path, version=version)
    newest = tmp_path / "brightness" / "10" / "model.onnx"
    for path in (newest, newest.parent, newest.parents[1], tmp_path):
        assert located(path) == newest
    with pytest.raises(StartError):
        located(tmp_path / "nothing")


def test_an_artefact_in_a_program(artifacts: Path) -> None:
    client = OfflineClient(artifacts / "brightness")
    answer = client.classify(grey(5))
    assert (answer.top.index, answer.model.version, len(answer.predictions)) == (5, "3", 5)
    assert answer.timing is not None
    outcomes = list(client.classify_many([*map(grey, range(20)), grey(1)[:-30]], top_k=1))
    assert [outcome.unwrap().top.index for outcome in outcomes[:-1]] == list(range(20))
    assert isinstance(outcomes[-1].error, CorruptImage)


def test_images_of_a_folder_come_by_name(photos: Path) -> None:
    assert [Path(named.name).name for named in gathered([str(photos)])] == ["a.png", "b.JPG", "c.webp"]
    with pytest.raises(InputError):
        gathered([str(photos / "more" / ".hidden" / "nothing")])
