"""Everything that stops an export, and the exit code by which a script tells it apart.

    ExportError                1  the base; never raised itself
    ├── BadInput               2  a flag, checkpoint or label file that cannot be used (argparse exits with 2 too)
    ├── WeightsUnavailable     3  official weights could not be downloaded: `make serve` goes on untrained
    ├── VerificationFailed     4  ONNX and PyTorch disagree; nothing was written
    └── NotWritten             5  the version exists, the disk is full, the folder is read-only

A stopped export exits with 130 (SIGINT) or 143 (SIGTERM), 128 + the signal's number, as shells have it.
"""

from __future__ import annotations

from typing import ClassVar


class ExportError(Exception):
    """An expected failure: its message is one line and says what to do; no traceback is shown."""

    exit_code: ClassVar[int] = 1


class BadInput(ExportError):
    """A flag, checkpoint or label file that cannot be used."""

    exit_code = 2


class WeightsUnavailable(ExportError):
    """Official weights could not be downloaded."""

    exit_code = 3


class VerificationFailed(ExportError):
    """The ONNX graph and PyTorch disagree."""

    exit_code = 4


class NotWritten(ExportError):
    """The artefact could not be put into the repository; what was there is untouched."""

    exit_code = 5
