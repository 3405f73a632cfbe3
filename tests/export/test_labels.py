from __future__ import annotations

import json
from pathlib import Path

import pytest

from export.errors import BadInput
from export.labels import default_labels, read_labels
from service.contract import Label

CATS = (Label(label="lion"), Label(label="tabby cat"), Label(label="lynx"))
KNOWN_CATS = (
    Label(wnid="n02129165", label="lion"),
    Label(wnid="n02123045", label="tabby cat"),
    Label(wnid="n02127052", label="lynx"),
)
PAIRS = [[label.wnid, label.label] for label in KNOWN_CATS]


def written(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "lion\ntabby cat\nlynx\n"),
        ("labels", "lion\r\n tabby cat \r\nlynx\r\n\r\n"),
        ("byte order mark.txt", "\ufefflion\ntabby cat\nlynx"),
        ("labels.csv", "lion\ntabby cat\nlynx\n"),
        ("header.csv", "label\nlion\ntabby cat\nlynx\n"),
        ("list.json", ["lion", "tabby cat", "lynx"]),
        ("by_index.json", {"1": "tabby cat", "0": "lion", "2": "lynx"}),
        ("class_to_idx.json", {"lynx": 2, "lion": 0, "tabby cat": 1}),
        ("config.json", {"id2label": {"0": "lion", "1": "tabby cat", "2": "lynx"}, "num_channels": 3}),
    ],
)
def test_labels_are_read_in_the_order_of_the_classes(tmp_path: Path, name: str, content: object) -> None:
    assert read_labels(written(tmp_path, name, content)) == CATS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "\n".join(",".join(pair) for pair in PAIRS)),
        ("header.csv", 'label,wnid\n"lion",n02129165\ntabby cat,n02123045\nlynx,n02127052\n'),
        ("index.csv", "wnid,index,label\nn02127052,2,lynx\nn02129165,0,lion\nn02123045,1,tabby cat\n"),
        ("pairs.json", PAIRS),
        ("imagenet_class_index.json", {str(index): pair for index, pair in enumerate(PAIRS)}),
        ("objects.json", [{"index": i, "wnid": pair[0], "label": pair[1]} for i, pair in enumerate(PAIRS)]),
    ],
)
def test_wordnet_ids_are_read_where_there_are_any(tmp_path: Path, name: str, content: object) -> None:
    assert read_labels(written(tmp_path, name, content)) == KNOWN_CATS


def test_a_wordnet_id_on_its_own_is_known_for_one(tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, "wnids.txt", "n02129165\nlynx")) == (
        Label(wnid="n02129165", label="n02129165"),
        Label(label="lynx"),
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("labels.txt", "", "no labels in it"),
        ("labels.txt", "lion\n\nlynx", "line 2 is empty"),
        ("labels.txt", "lion\nlynx\nlion", "'lion' is there more than once"),
        ("labels.csv", "a,b,c\nd,e,f", "expected the columns wnid,label"),
        ("labels.csv", "wnid,label\nn02129165", "expected the columns"),
        ("labels.csv", "wnid,label\nn02129165,", "class 0 has no label"),
        ("labels.json", {"0": "lion", "2": "lynx"}, "the indices are not 0 to 1"),
        ("labels.json", {"lion": "cat", "lynx": "cat"}, "neither its keys nor its values are class indices"),
        ("labels.json", [["a", "b", "c"]], r'\["a", "b", "c"\] is no label'),
        ("labels.json", [7], "7 is no label"),
        ("labels.json", "[", "Expecting value"),
        ("labels.json", '"lion"', "neither a list nor an object"),
    ],
)
def test_a_file_that_would_mix_classes_up_is_refused(tmp_path: Path, name: str, content: object, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        read_labels(written(tmp_path, name, content))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_labels(tmp_path / "missing.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="can't decode"):
        read_labels(tmp_path / "binary.txt")


def test_without_a_file_a_thousand_classes_are_imagenets_and_others_are_numbered() -> None:
    imagenet = default_labels(1000)
    assert imagenet[0] == Label(wnid="n01440764", label="tench")
    assert len(set(imagenet)) == 1000
    assert default_labels(3) == (Label(label="class 0"), Label(label="class 1"), Label(label="class 2"))
