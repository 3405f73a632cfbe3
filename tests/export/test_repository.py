from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from export.errors import NotWritten
from export.repository import check, latest_version, stage
from service.repository import FILE_NAME, artefacts
from tests.conftest import ROOT

# Writes half of a model, says so, and waits for whatever happens to it.
HALF_WAY = """
import sys, time
from pathlib import Path
from export.repository import stage
with stage(Path(sys.argv[1])) as staging:
    (staging.folder / "model.onnx").write_bytes(b"half a mod")
    print("half", flush=True)
    time.sleep(60)
"""


def write(model: Path, data: bytes, version: int | None = None, *, replace: bool = False) -> Path:
    with stage(model, version, replace=replace) as staging:
        staging.write(FILE_NAME, data)
    return staging.published


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def half_way(model: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing a version of `model`."""
    command = [sys.executable, "-c", HALF_WAY, str(model)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "half\n"
            yield process
        finally:
            process.kill()


def test_versions_count_up_from_one_past_any_gap(tmp_path: Path) -> None:
    model = tmp_path / "repository" / "resnet18"
    assert [write(model, b"first"), write(model, b"second")] == [model / "1", model / "2"]
    assert write(model, b"seventh", 7) == model / "7"
    assert write(model, b"eighth") == model / "8"
    (model / "notes").mkdir()
    (model / "9").mkdir()  # somebody's, with no model in it
    assert latest_version(model) == 9
    assert write(model, b"tenth") == model / "10"
    assert (model / "1" / FILE_NAME).read_bytes() == b"first"


def test_an_existing_version_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    model = tmp_path / "resnet18"
    write(model, b"old", 3)
    with pytest.raises(NotWritten, match="version 3 of resnet18 exists"):
        write(model, b"new", 3)
    assert (model / "3" / FILE_NAME).read_bytes() == b"old"
    assert write(model, b"new", 3, replace=True) == model / "3"
    assert (model / "3" / FILE_NAME).read_bytes() == b"new"
    assert names(model) == ["3"]


def test_a_version_is_readable_as_the_umask_says(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        version = write(tmp_path / "resnet18", b"model")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(version.stat().st_mode) == 0o755
    assert stat.S_IMODE((version / FILE_NAME).stat().st_mode) == 0o644


def test_a_failure_leaves_nothing_behind_not_even_folders(tmp_path: Path) -> None:
    def fail() -> None:
        with stage(tmp_path / "repository" / "resnet18") as staging:
            staging.write(FILE_NAME, b"model")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(tmp_path) == []


def test_an_export_killed_half_way_is_invisible_and_cleared_away_by_the_next(tmp_path: Path) -> None:
    model = tmp_path / "resnet18"
    write(model, b"old")
    with half_way(model) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    assert len(names(model)) == 2  # what it wrote is still there …
    assert [artefact.path for artefact in artefacts(tmp_path)] == [model / "1" / FILE_NAME]  # … to nobody
    assert write(model, b"new") == model / "2"
    assert names(model) == ["1", "2"]
    assert (model / "1" / FILE_NAME).read_bytes() == b"old"


def test_an_export_that_is_still_running_is_let_be(tmp_path: Path) -> None:
    model = tmp_path / "resnet18"
    with half_way(model):
        assert write(model, b"overtakes it") == model / "1"
        (partial,) = model.glob(".partial-*")
        assert (partial / FILE_NAME).read_bytes() == b"half a mod"


def test_exports_at_the_same_time_get_versions_of_their_own(tmp_path: Path) -> None:
    model = tmp_path / "resnet18"
    program = (
        "import sys; from pathlib import Path; from export.repository import stage\n"
        "for _ in range(5):\n"
        "    with stage(Path(sys.argv[1])) as staging: staging.write('model.onnx', sys.argv[2].encode())"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(model), str(number)], cwd=ROOT) for number in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    assert names(model) == sorted(str(version) for version in range(1, 21))
    written = sorted((model / version / FILE_NAME).read_text() for version in names(model))
    assert written == sorted("0123" * 5)


def test_a_full_disk_leaves_the_older_version_as_it_was(one_megabyte: Path) -> None:
    model = one_megabyte / "resnet18"
    write(model, b"old" * 100_000)
    for version in (None, 1):
        with pytest.raises(NotWritten, match="No space left on device; nothing was changed"):
            write(model, b"new" * 300_000, version, replace=True)
        assert names(model) == ["1"]
        assert (model / "1" / FILE_NAME).read_bytes() == b"old" * 100_000


def test_a_file_where_the_repository_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("not a folder")
    with pytest.raises(NotWritten, match="artifacts is not a folder"):
        check(tmp_path / "artifacts" / "resnet18", None)
    with pytest.raises(NotWritten, match="Not a directory"):
        write(tmp_path / "artifacts" / "resnet18", b"model")
