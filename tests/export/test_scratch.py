"""export.scratch: what is needed meanwhile is gone afterwards, and a disk without room for it is told as such."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import pytest

from export.errors import NotWritten
from export.quantize import _prepare
from export.scratch import scratch
from tests.export.conftest import Graph


def test_it_is_gone_after_the_block() -> None:
    with scratch() as folder:
        (folder / "file").write_bytes(b"meanwhile")
    assert not folder.exists()


def test_a_full_disk_stops_a_quantisation_and_has_its_room_back(
    one_megabyte: Path, monkeypatch: pytest.MonkeyPatch, resnet18: Graph
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(one_megabyte))
    told = "cannot write temporary files: No space left on device; TMPDIR names the folder that they go to"
    with pytest.raises(NotWritten, match=told):
        _prepare(onnx.ModelProto.FromString(resnet18.serialized))
    assert list(one_megabyte.iterdir()) == []
