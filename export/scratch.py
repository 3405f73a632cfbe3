"""Room for the files that ONNX Runtime's tools want to have between their steps."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import NotWritten


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder that is gone after the block.

    Raises:
        NotWritten: a file could not be written in the block; it says where else they can go.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="resnet-export-") as folder:
            yield Path(folder)
    except OSError as error:
        raise NotWritten(
            f"cannot write temporary files: {error.strerror or error}; TMPDIR names the folder that they go to"
        ) from error
