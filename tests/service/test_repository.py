"""Which artefact of a repository is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import StartError
from service.repository import RepositoryError, Wanted, artefacts, current, find, wanted


def repository(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name / "model.onnx"
        path.parent.mkdir(parents=True)
        path.touch()
    return folder


def found(folder: Path, model: str | None) -> tuple[str, int]:
    artefact = find(folder, model)
    assert artefact.path == folder / artefact.name / str(artefact.version) / "model.onnx"
    return artefact.name, artefact.version


def test_the_highest_version_by_number_is_meant_where_none_is_named(tmp_path: Path) -> None:
    folder = repository(tmp_path, "resnet18/2", "resnet18/10", "resnet18/9")
    assert found(folder, None) == found(folder, "resnet18") == ("resnet18", 10)


def test_a_version_may_be_named(tmp_path: Path) -> None:
    folder = repository(tmp_path, "resnet18/2", "resnet18/10", "resnet50/1")
    assert found(folder, "resnet18:2") == ("resnet18", 2)
    assert found(folder, "resnet50") == ("resnet50", 1)


def test_what_is_half_written_or_no_artefact_is_not_seen(tmp_path: Path) -> None:
    folder = repository(tmp_path, "resnet18/1", "resnet18/.2.tmp", ".resnet50/1", "resnet18/latest", "resnet18/3/more")
    (tmp_path / "resnet18" / "4").mkdir()
    (tmp_path / "README.md").touch()
    assert [(one.name, one.version) for one in artefacts(folder)] == [("resnet18", 1)]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "holds resnet18, resnet50: choose one with --model"),
        ("vgg16", "no model 'vgg16' in .*, which holds resnet18, resnet50"),
        ("resnet18:3", "no version '3' of 'resnet18' in .*, which holds 1, 2"),
        ("resnet18:latest", "no version 'latest'"),
        ("../resnet18", "no model"),
        ("", "no model ''"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(tmp_path: Path, model: str | None, message: str) -> None:
    folder = repository(tmp_path, "resnet18/1", "resnet18/2", "resnet50/1")
    with pytest.raises(RepositoryError, match=message) as refused:
        find(folder, model)
    assert isinstance(refused.value, StartError)


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_an_empty_repository_is_refused_with_a_way_out(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RepositoryError, match="make one with resnet-export"):
        find(tmp_path / folder, None)


def meant(folder: Path, models: str) -> list[tuple[str, int | None, int]]:
    return [(each.name, each.version, artefact.version) for each, artefact in wanted(folder, models).items()]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("b,a:1", [("b", None, 3), ("a", 1, 1)]),
        ("a:2,a:1,a", [("a", 2, 2), ("a", 1, 1), ("a", None, 2)]),
        ("*", [("a", None, 2), ("b", None, 3), ("c", None, 1)]),
        ("b:2,*", [("b", 2, 2), ("a", None, 2), ("c", None, 1)]),
    ],
)
def test_several_are_meant_in_the_order_in_which_they_are_named(
    tmp_path: Path, models: str, expected: list[tuple[str, int | None, int]]
) -> None:
    assert meant(repository(tmp_path, "a/1", "a/2", "b/2", "b/3", "c/1"), models) == expected


def test_what_is_current_follows_the_disk_and_a_replaced_file_is_another_artefact(tmp_path: Path) -> None:
    folder = repository(tmp_path, "a/1", "a/2")
    before = artefacts(folder)
    assert current(before, Wanted("a")) == before[1]
    assert current(before, Wanted("a", 1)) == before[0]
    assert current(before, Wanted("a", 3)) is current(before, Wanted("b")) is None
    assert artefacts(folder) == before
    (tmp_path / "new").write_bytes(b"another")
    (tmp_path / "new").replace(before[0].path)
    after = artefacts(repository(folder, "a/3"))
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert current(after, Wanted("a")) == after[2]
