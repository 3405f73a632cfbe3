"""`resnet-export compare A B DIR`: two artefacts on the same labelled photos, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.commands.common import (
    ARTEFACT_HELP,
    EXIT_CODES,
    PHOTOS_HELP,
    add_json,
    add_provider,
    add_quiet,
    add_repository,
    shows_progress,
    warn,
    write_json,
)

if TYPE_CHECKING:
    from export.comparison import Comparison

DESCRIPTION = """\
Have two artefacts answer the same labelled photos: how often they agree, how often each is right, how fast each is.
They take turns batch by batch, so that whatever slows one slows the other. What precision costs and buys, for one."""

EPILOG = f"""\
examples:
  resnet-export compare resnet50 resnet50-int8 photos/
  resnet-export compare resnet50:1 resnet50:2 photos/labels.csv --json compared.json

images/s: the engine alone, in batches of 8 on all cores; decoding is not counted.

{EXIT_CODES}"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's flags."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("a", metavar="A", help=ARTEFACT_HELP)
    parser.add_argument("b", metavar="B", help="another one, with the same classes")
    parser.add_argument("photos", type=Path, metavar="DIR", help=PHOTOS_HELP)
    add_repository(parser)
    add_provider(parser)
    add_json(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> None:
    """Compare, and print a table."""
    from export.artefact import find_artefact, load_engine  # these take a second: only now
    from export.comparison import compare
    from export.photos import insist_on_labels, read_photos

    paths = [find_artefact(called, arguments.artifacts) for called in (arguments.a, arguments.b)]
    a, b = (load_engine(path, arguments.provider) for path in paths)
    photos = read_photos(arguments.photos, a.contract.labels)
    insist_on_labels(arguments.photos, photos)
    found = compare((a, b), photos, warn=warn, progress=shows_progress(arguments))
    document = _document(found)
    for side, engine, path in zip(("a", "b"), (a, b), paths, strict=True):
        document[side] |= {"artefact": str(path), "precision": engine.contract.precision, "bytes": path.stat().st_size}
    print(_table(document, arguments))
    write_json(arguments.json, document)


def _document(found: Comparison) -> dict[str, Any]:
    from export.scores import score

    sides: dict[str, Any] = {}
    for side, evaluated in (("a", found.a), ("b", found.b)):
        scores = score(evaluated.answers)
        sides[side] = {
            "top1": scores.top1,
            "top5": scores.top5,
            "calibration_error": scores.calibration_error,
            "images_per_s": evaluated.images_per_s,
        }
    images = len(found.a.answers)
    return {
        "images": images,
        "top1_agreement": found.agreeing / images,
        "both_right": found.both,
        "only_a_right": found.only_a,
        "only_b_right": found.only_b,
        "bad_files": found.a.bad,
        **sides,
    }


def _table(document: dict[str, Any], arguments: argparse.Namespace) -> str:
    from models.tables import align

    a, b = document["a"], document["b"]
    rows = [
        (
            f"images/s ({b['images_per_s'] / a['images_per_s']:.2f} times)",
            *(f"{s['images_per_s']:.1f}" for s in (a, b)),
        ),
        (f"MB ({b['bytes'] / a['bytes']:.0%})", *(f"{s['bytes'] / 1e6:.1f}" for s in (a, b))),
        ("precision", a["precision"], b["precision"]),
        ("top-1", *(f"{s['top1']:.1%}" for s in (a, b))),
        ("top-5", *(f"{s['top5']:.1%}" for s in (a, b))),
        ("calibration error", *(f"{s['calibration_error']:.3f}" for s in (a, b))),
        ("only this one is right", str(document["only_a_right"]), str(document["only_b_right"])),
    ]
    agreement = f"same first class on {document['top1_agreement']:.1%} of {document['images']} photos"
    return f"{align(('', arguments.a, arguments.b), rows)}\n\n{agreement}"
