"""`resnet-export evaluate ARTEFACT DIR`: how good an artefact is on labelled photos, and how fast."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
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
    say,
    shows_progress,
    warn,
    write_json,
)

if TYPE_CHECKING:
    from export.evaluate import Evaluated
    from export.scores import Confusion, Scores
    from service.contract import Contract, Label

DESCRIPTION = """\
Have an artefact answer labelled photos, by the engine that serves it: top-1, top-5, the classes recognised worst and
what they are taken for, the calibration error, and images a second. A run that was interrupted goes on where it
was; files that cannot be decoded are listed, and do no harm."""

EPILOG = f"""\
examples:
  resnet-export evaluate resnet50 imagenet/val
  resnet-export evaluate cats photos/labels.csv --output reports/cats

what is written, to --output:
  evaluation.json   the figures
  evaluation.png    calibration and the worst classes, drawn (where Matplotlib is installed)
  answers.jsonl     the answer to every photo; an interrupted run goes on from it

calibration error: the expected one of Guo et al. 2017 (Eq. 3), of the first class's probability, in 15 bins of equal
width. images/s: the engine alone, in batches of 8 on all cores; decoding is not counted.

{EXIT_CODES}; 5 could not be written"""

_REPORT, _PLOT, _JOURNAL = "evaluation.json", "evaluation.png", "answers.jsonl"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's flags."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("artefact", metavar="ARTEFACT", help=ARTEFACT_HELP)
    parser.add_argument("photos", type=Path, metavar="DIR", help=PHOTOS_HELP)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where the report goes (default: evaluations/NAME-VERSION)"
    )
    parser.add_argument("--afresh", action="store_true", help="ask about every photo, whatever was answered before")
    add_repository(parser)
    add_provider(parser)
    add_json(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate, print the figures, and write the report."""
    from export.artefact import find_artefact, load_engine, read_artefact  # these take a second: only now
    from export.evaluate import evaluate
    from export.photos import insist_on_labels, read_photos
    from export.plots import can_plot, plot_scores
    from export.scores import score

    path = find_artefact(arguments.artefact, arguments.artifacts)
    contract = read_artefact(path).contract
    photos = read_photos(arguments.photos, contract.labels)
    insist_on_labels(arguments.photos, photos)
    folder = arguments.output or Path("evaluations") / f"{contract.name}-{path.parent.name}"
    if arguments.afresh:
        (folder / _JOURNAL).unlink(missing_ok=True)
    engine = load_engine(path, arguments.provider)
    evaluated = evaluate(engine, path, photos, folder / _JOURNAL, progress=shows_progress(arguments))
    if evaluated.resumed and not arguments.quiet:
        say(f"resumed     {evaluated.resumed} of {len(photos)} photos were answered before; --afresh asks again")
    for name, why in evaluated.bad.items():
        warn(f"{name} is left out: {why}")
    scores = score(evaluated.answers)
    print("\n".join(_told(contract, scores, evaluated)))
    document = {"artefact": str(path), "photos": str(arguments.photos), "provider": engine.provider}
    document |= _report(contract, scores, evaluated)
    for file in (folder / _REPORT, arguments.json):
        write_json(file, document)
    if can_plot():
        title = f"{contract.name} in {contract.precision} on {scores.images} photos: top-1 {scores.top1:.1%}"
        plot_scores(scores, contract.labels, title, folder / _PLOT)
    print(f"wrote {folder}")


def _told(contract: Contract, scores: Scores, evaluated: Evaluated) -> Iterator[str]:
    from models.tables import align

    yield f"photos             {scores.images}" + (f", {len(evaluated.bad)} left out" if evaluated.bad else "")
    yield f"top-1              {scores.top1:.1%}"
    yield f"top-5              {scores.top5:.1%}"
    yield f"calibration error  {scores.calibration_error:.3f}"
    yield f"images/s           {evaluated.images_per_s:.1f}"
    if scores.worst:
        header = ("worst classes", "right", "of", "taken for")
        yield ""
        yield align(header, [_row(each, contract.labels) for each in scores.worst])


def _row(each: Confusion, labels: Sequence[Label]) -> tuple[str, ...]:
    taken_for = ", ".join(f"{labels[index].label} ({times})" for index, times in each.taken_for)
    return labels[each.class_index].label, str(each.right), str(each.images), taken_for


def _report(contract: Contract, scores: Scores, evaluated: Evaluated) -> dict[str, Any]:
    def named(index: int) -> dict[str, Any]:
        return {"index": index, **contract.labels[index].model_dump()}

    return {
        "model": contract.model_dump(mode="json", include={"name", "architecture", "precision", "weights"}),
        "images": scores.images,
        "top1": scores.top1,
        "top5": scores.top5,
        "calibration_error": scores.calibration_error,
        "calibration_bins": [bin_._asdict() for bin_ in scores.bins],
        "images_per_s": evaluated.images_per_s,
        "worst_classes": [
            {
                **named(each.class_index),
                "images": each.images,
                "right": each.right,
                "taken_for": [{**named(index), "times": times} for index, times in each.taken_for],
            }
            for each in scores.worst
        ],
        "bad_files": evaluated.bad,
    }
