"""What the commands share: flags that mean the same everywhere, and ways to say things."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from export.errors import NotWritten

ARTEFACT_HELP = "a model.onnx, the folder it is in, or NAME or NAME:VERSION in the model repository"
PHOTOS_HELP = (
    "labelled photos: folders called by their class's WordNet id, index or label (torchvision's ImageFolder), or a "
    ".csv file, or a folder with labels.csv in it: columns file and class_index, wnid or label"
)
EXIT_CODES = "exit codes:\n  0 done; 2 an argument that cannot be used; 130, 143 stopped"


def add_repository(parser: argparse.ArgumentParser) -> None:
    """Add where names of artefacts are looked up."""
    parser.add_argument(
        "--artifacts",
        type=Path,
        default=Path("artifacts"),
        metavar="DIR",
        help="model repository (default: %(default)s)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add where the figures go."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too, as JSON")


def add_provider(parser: argparse.ArgumentParser) -> None:
    """Add what computes."""
    parser.add_argument(
        "--provider",
        choices=["auto", "cuda", "cpu"],
        default="auto",
        help="execution provider, as of resnet-serve (default: %(default)s)",
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add the wish for silence."""
    parser.add_argument("--quiet", action="store_true", help="say nothing but warnings, errors and the result")


def say(line: str) -> None:
    """Say something on standard error: standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def warn(line: str) -> None:
    """Say something that a person had better know."""
    say(f"WARNING: {line}")


def shows_progress(arguments: argparse.Namespace) -> bool:
    """Say whether to draw progress bars: for people, not into files."""
    return sys.stderr.isatty() and not arguments.quiet


def write_json(path: Path | None, document: Any) -> None:
    """Write figures where somebody asked for them.

    Raises:
        NotWritten: the file system refused.
    """
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise NotWritten(f"{path}: {error.strerror}") from error
