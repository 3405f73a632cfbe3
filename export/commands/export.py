"""`resnet-export ARCHITECTURE`: a trained network becomes a verified artefact."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import fields
from pathlib import Path

from export.labels import read_labels
from export.request import AUTO, Request, find_existing
from service.contract import UNTRAINED

DESCRIPTION = """\
Turn a trained network into an artefact that resnet-serve serves: OUTPUT/NAME/VERSION/model.onnx, with
preprocessing, labels and provenance inside. It is verified against PyTorch first; where the two disagree,
nothing is written."""

EPILOG = """\
examples:
  resnet-export resnet50                                      the newest official weights
  resnet-export resnet50 --weights IMAGENET1K_V1              the paper's recipe
  resnet-export resnet18 --weights cats.pth --labels cats.txt --name cats
                                                              your own, with your own classes
  resnet-export resnet50 --precision int8 --calibration photos/
                                                              for CPUs: a quarter of the size, 3 times the speed
  resnet-export auto --weights model.safetensors              architecture told from the checkpoint
  resnet-export resnet18 --weights untrained                  to try things out without a network

label files:
  text: one label a line; .csv: wnid,label or label; .json: a list, {"0": ["wnid", "label"]}, {"label": 0},
  or Hugging Face's config.json

other commands, each with --help of its own:
  resnet-export verify ARTEFACT CHECKPOINT                    does it still compute what the checkpoint does?
  resnet-export inspect ARTEFACT                              contract, layers, sizes, multiply-adds
  resnet-export evaluate ARTEFACT DIR                         accuracy, calibration, speed on labelled photos
  resnet-export compare A B DIR                               two artefacts side by side

exit codes:
  0 written, or there already with --if-missing; 2 a flag, checkpoint or label file that cannot be used;
  3 official weights could not be downloaded; 4 ONNX and PyTorch disagree,
  or more accuracy is lost than --max-drop allows; 5 could not be written;
  130, 143 stopped. Unless 0, the repository is as it was."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # one path component, and nothing that a URL would escape


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's flags."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "architecture",
        help=f"resnet18 … resnet152, with -a, -c or -v1 for the paper's variants; plain18, "
        f"plain34; vgg16, vgg19, with _bn; or {AUTO}, to tell it from the checkpoint",
    )
    what = parser.add_argument_group("what to export")
    what.add_argument(
        "--weights",
        metavar="NAME|PATH",
        help="name of official weights (IMAGENET1K_V1, IMAGENET1K_V2; the default is the newest), a .pth or "
        f".safetensors file, or {UNTRAINED}",
    )
    what.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes (default: ImageNet's for 1000)")
    what.add_argument(
        "--precision",
        choices=["fp32", "fp16", "int8"],
        default="fp32",
        help="of the artefact: fp16 for GPUs, int8 for CPUs (default: %(default)s)",
    )
    what.add_argument(
        "--calibration",
        type=Path,
        metavar="DIR",
        help="images like those that will be asked about, for int8: a hundred or more, in any folders, no labels",
    )
    what.add_argument(
        "--evaluate",
        type=Path,
        metavar="DIR",
        help="photos to compare with PyTorch on, for the certificate; labelled, by folder or in labels.csv, for "
        "accuracy too",
    )
    what.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="write nothing that gets more percentage points of --evaluate's photos wrong than float32 does",
    )
    what.add_argument(
        "--seed", type=int, default=0, help="of untrained weights and of calibration (default: %(default)s)"
    )
    _add_preprocessing(parser.add_argument_group("preprocessing, where your network was not trained with the usual"))
    _add_destination(parser.add_argument_group("where to"))
    parser.add_argument("--quiet", action="store_true", help="say nothing but warnings, errors and the result")


def _add_preprocessing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--resize",
        type=_positive,
        metavar="PIXELS",
        help="short side after resizing (default: 256, or the weights' own)",
    )
    group.add_argument(
        "--crop", type=_positive, metavar="PIXELS", help="side of the centre crop (default: 224, or the weights' own)"
    )
    for flag, what in (("--mean", "mean"), ("--std", "standard deviation")):
        group.add_argument(
            flag, type=float, nargs=3, metavar=("R", "G", "B"), help=f"{what} of pixels in [0, 1] (default: ImageNet's)"
        )


def _add_destination(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--name", type=_model_name, help="the model's name (default: the architecture)")
    group.add_argument(
        "--output", type=Path, default=Path("artifacts"), metavar="DIR", help="model repository (default: %(default)s)"
    )
    group.add_argument("--version", type=_positive, metavar="N", help="its number (default: the next one)")
    group.add_argument("--force", action="store_true", help="replace --version where it exists")
    group.add_argument(
        "--if-missing",
        action="store_true",
        help="do nothing where the latest version (or --version) was exported with the same settings",
    )


def run(arguments: argparse.Namespace) -> None:
    """Export, and print the path, the size and the largest difference on standard output."""
    request = _request(arguments)
    if arguments.if_missing and (existing := find_existing(request)):
        print(f"{existing} is there already, exported with the same settings")
        return
    from export.pipeline import export  # PyTorch takes seconds to import: only now

    exported = export(
        request,
        report=lambda line: None if arguments.quiet else _say(line),
        warn=lambda line: _say(f"WARNING: {line}"),
        progress=sys.stderr.isatty() and not arguments.quiet,
    )
    print(
        f"wrote {exported.path} ({exported.size_bytes / 1e6:.1f} MB, largest difference from PyTorch "
        f"{exported.certificate.max_difference(request.precision):.1e})"
    )


def _request(arguments: argparse.Namespace) -> Request:
    values = {field.name: getattr(arguments, field.name) for field in fields(Request)}
    labels = read_labels(arguments.labels) if arguments.labels else None
    return Request(**values | {"labels": labels})


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _model_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits, dots, dashes and underscores only")
    return text


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
