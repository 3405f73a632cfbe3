"""`resnet-export verify ARTEFACT CHECKPOINT`: does an artefact still compute what its checkpoint does?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from export.commands.common import (
    ARTEFACT_HELP,
    add_json,
    add_quiet,
    add_repository,
    say,
    shows_progress,
    warn,
    write_json,
)
from export.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from export.artefact import Artefact
    from export.source import Source
    from service.contract import Check, Evaluation

DESCRIPTION = """\
Compare an artefact with the checkpoint it is said to be made from: probabilities beside PyTorch's on seeded
images, in several batch sizes, with ONNX Runtime's optimisations off and on; and on photos of your own. An int8
artefact is held to what its own certificate says of it."""

EPILOG = """\
examples:
  resnet-export verify cats cats.pth
  resnet-export verify artifacts/resnet50/1/model.onnx IMAGENET1K_V2
  resnet-export verify resnet50-int8 resnet50.safetensors --images photos/

exit codes:
  0 it computes what the checkpoint does; 2 an argument that cannot be used; 3 official weights could not be
  downloaded; 4 it computes something else; 130, 143 stopped"""

INT8_MARGIN = 0.02  # of a probability: what another CPU's kernels may add to what the certificate says


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's flags."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("artefact", metavar="ARTEFACT", help=ARTEFACT_HELP)
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a .pth or .safetensors file, or the name of official weights"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="photos to compare on too, labelled or not")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the images, and of untrained weights (default: %(default)s)"
    )
    add_repository(parser)
    add_json(parser)
    add_quiet(parser)


def run(arguments: argparse.Namespace) -> None:
    """Compare, print a table, and fail where the two are not the same."""
    from export.artefact import find_artefact, read_artefact  # PyTorch takes seconds to import: only now
    from export.precision import FP16_TOLERANCE
    from export.request import Request
    from export.source import load
    from export.verify import TIE, measure

    artefact = read_artefact(find_artefact(arguments.artefact, arguments.artifacts))
    contract = artefact.contract
    request = Request(contract.architecture, arguments.checkpoint, labels=contract.labels, seed=arguments.seed)
    found = load(request, progress=shows_progress(arguments))
    _compare_hashes(artefact, found, arguments.quiet)
    checks = measure(
        artefact.path.read_bytes(),
        found.network,
        contract.preprocessing,
        precision=contract.precision,
        tie=2 * FP16_TOLERANCE if contract.precision == "fp16" else TIE,
        seed=arguments.seed,
        progress=shows_progress(arguments),
    )
    evaluations = _evaluated(artefact, found, arguments)
    print(_table(checks))
    for each in evaluations:
        accuracy = f"; top-1 {each.top1:.1%}, top-5 {each.top5:.1%}" if each.labelled else ""
        print(f"{each.top1_agreement:.1%} of {each.images} images have PyTorch's first class{accuracy}")
    document = {"artefact": str(artefact.path), "checkpoint": arguments.checkpoint, "sha256": found.weights.sha256}
    document["checks"] = [check.model_dump() for check in checks]
    document["evaluations"] = [each.model_dump() for each in evaluations]
    write_json(arguments.json, document)
    _judge(artefact, checks)
    print(f"verified: {artefact.path} computes what {arguments.checkpoint} does")


def _compare_hashes(artefact: Artefact, found: Source, quiet: bool) -> None:
    made_from, given = artefact.contract.weights, found.weights
    if made_from.sha256 != given.sha256:
        warn(f"the artefact was made from {made_from.name} (sha256 {made_from.sha256}), not from {given.sha256}")
    elif not quiet and given.sha256:
        say(f"checkpoint  the very file that the artefact was made from, sha256 {given.sha256[:8]}…")


def _evaluated(artefact: Artefact, found: Source, arguments: argparse.Namespace) -> tuple[Evaluation, ...]:
    from export.agreement import evaluate
    from export.photos import read_photos

    if arguments.images is None:
        return ()
    contract = artefact.contract
    photos = read_photos(arguments.images, contract.labels)
    models = {contract.precision: artefact.model}
    progress = shows_progress(arguments)
    return evaluate(models, found.network, photos, contract.preprocessing, warn=warn, progress=progress)


def _judge(artefact: Artefact, checks: Sequence[Check]) -> None:
    """Insist that the artefact computes what it promises.

    Raises:
        VerificationFailed: it does not.
    """
    from export.precision import FP16_TOLERANCE
    from export.verify import TOLERANCE, violation

    contract = artefact.contract
    if contract.precision != "int8":
        tolerance = FP16_TOLERANCE if contract.precision == "fp16" else TOLERANCE
        fault = next(filter(None, (violation(check, tolerance) for check in checks)), None)
    elif contract.certificate is None or not any(c.precision == "int8" for c in contract.certificate.checks):
        fault = "the artefact does not say how far from PyTorch it should be"
    else:
        allowed = contract.certificate.max_difference("int8") + INT8_MARGIN
        largest = max(check.max_difference for check in checks)
        fault = (
            None if largest <= allowed else f"it differs by {largest:.1e}, its certificate says {allowed:.1e} at most"
        )
    if fault:
        raise VerificationFailed(f"{artefact.path}: {fault}")


def _table(checks: Sequence[Check]) -> str:
    from models.tables import align

    rows = [
        (
            str(check.batch_size),
            "on" if check.optimized else "off",
            f"{check.max_difference:.1e}",
            f"{check.mean_difference:.1e}",
            f"{check.top1_agreement:.0%}",
        )
        for check in checks
    ]
    return align(("batch size", "optimisations", "largest difference", "mean", "same first class"), rows)
