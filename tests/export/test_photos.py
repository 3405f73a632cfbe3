"""A user's photos: where their classes are told, and what is wrong with some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.errors import BadInput
from export.images import synthetic_images
from export.photos import Photo, decode, insist_on_labels, read_photos
from service.contract import Label
from tests.export.conftest import SMALL

LABELS = (
    *(Label(wnid=f"n0000000{index}", label=f"thing {index}") for index in range(8)),
    Label(wnid="n00000008", label="crane"),
    Label(wnid="n00000009", label="crane"),
)
IMAGES = synthetic_images(4, SMALL.crop, seed=5)


def save(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGES[number]).save(path)
    return path


@pytest.mark.parametrize("name", ["3", "n00000003", "thing 3", "Thing_3"])
def test_a_folder_is_called_by_its_classs_index_wordnet_id_or_label(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / name / "a.png")
    other = save(tmp_path / "deeper" / "5" / "b.png")
    found = read_photos(tmp_path, LABELS)
    assert sorted(found) == sorted([Photo(path, f"{name}/a.png", 3), Photo(other, "deeper/5/b.png", 5)])


@pytest.mark.parametrize(
    ("column", "value"), [("class_index", "3"), ("index", "3"), ("wnid", "n00000003"), ("label", "thing 3")]
)
def test_a_table_names_files_and_classes(column: str, value: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(f"file,{column}\na.png,{value}\n")
    assert read_photos(tmp_path, LABELS) == [Photo(path, "a.png", 3)]
    (tmp_path / "labels.csv").rename(tmp_path / "others.csv")
    assert read_photos(tmp_path / "others.csv", LABELS) == [Photo(path, "a.png", 3)]


def test_folders_of_other_names_leave_the_classes_unknown_which_some_cannot_do_with(tmp_path: Path) -> None:
    path = save(tmp_path / "holidays" / "a.png")
    photos = read_photos(tmp_path, LABELS)
    assert photos == [Photo(path, "holidays/a.png", None)]
    with pytest.raises(BadInput, match="WordNet id, index or label, or name file and class"):
        insist_on_labels(tmp_path, photos)
    save(tmp_path / "3" / "a.png")
    with pytest.raises(BadInput, match="holidays is no class, and other folders are"):
        read_photos(tmp_path, LABELS)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,class\n", "needs the columns file and one of class_index"),
        ("file,wnid\na.png,n99999999\n", "a.png is of class 'n99999999', which there is none of"),
        ("file,label\na.png,Crane\n", "several classes are called 'Crane'"),
        ("file,label\n", "names no photos"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(table: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(BadInput, match=message):
        read_photos(tmp_path, LABELS)


def test_no_photos_are_refused(tmp_path: Path) -> None:
    for nothing in (tmp_path, tmp_path / "nowhere", tmp_path / "nowhere.csv"):
        with pytest.raises(BadInput):
            read_photos(nothing, LABELS)


def test_what_cannot_be_decoded_is_told_and_left_out(tmp_path: Path) -> None:
    photos = [Photo(save(tmp_path / f"{number}.png", number), str(number), None) for number in range(3)]
    (tmp_path / "broken.png").write_bytes(b"broken")
    photos[1:1] = [Photo(tmp_path / name, name, None) for name in ("broken.png", "missing.png")]
    said: list[str] = []
    as_is = SMALL.model_copy(update={"resize": SMALL.crop})
    batches = list(decode(photos, as_is, 2, lambda photo, why: said.append(f"{photo.name}: {why}")))
    assert [len(batch.photos) for batch in batches] == [1, 1, 1]
    assert np.array_equal(np.concatenate([batch.pixels for batch in batches]), IMAGES[:3])
    assert [line.split(":")[0] for line in said] == ["broken.png", "missing.png"]
    assert "No such file" in said[1]
