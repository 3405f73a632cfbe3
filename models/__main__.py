"""The command line: `python -m models complexity …`, `python -m models responses …`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from models import complexity, tables, zoo
from models.checkpoint import load_checkpoint
from models.photos import find_photos, load_photo
from models.plot import plot_responses, require_matplotlib
from models.responses import ranked, responses

CONVENTION = "Multiply-adds of convolutions and fully connected layers, for one image (He et al. 2015, Table 1)."
FIGURE_7 = "Standard deviations of layer responses: outputs of BN (He et al. 2015, Sec. 4.2 and Fig. 7)."
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0, or 1 after one line on standard error. Misuse exits with 2, as argparse has it.
    """
    parser = argparse.ArgumentParser(prog="python -m models", description="Look into networks.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_complexity(commands)
    _add_responses(commands)
    arguments = parser.parse_args(argv)
    try:
        arguments.command(arguments)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _add_complexity(commands: Commands) -> None:
    parser = commands.add_parser(
        "complexity",
        help="parameters and multiply-adds per layer",
        description=f"Parameters and multiply-adds per layer. {CONVENTION} BN folds into convolutions.",
        epilog=f"Architectures: {', '.join(zoo.ARCHITECTURES)}. -a, -c: shortcut option A or C instead of B; "
        "-v1: stride on the 1x1, as published, instead of the 3x3.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("architecture", nargs="?", metavar="ARCHITECTURE", help="such as resnet34: see below")
    what.add_argument(
        "--compare",
        action="store_true",
        help="the paper's comparison at 224x224: VGG-19, plain-34 and ResNet-34, then 18 to 152 layers",
    )
    parser.add_argument("--input-size", type=_positive, default=224, help="side in pixels (default: 224)")
    parser.add_argument("--num-classes", type=_positive, default=1000, help="of the last layer (default: 1000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(command=_complexity)


def _complexity(arguments: argparse.Namespace) -> None:
    if arguments.compare:
        compared = complexity.comparison()
        found: dict[str, Any] = {"convention": CONVENTION, "networks": [asdict(network) for network in compared]}
        text = tables.comparison_table(compared)
    else:
        shape = (3, arguments.input_size, arguments.input_size)
        layers = complexity.of_architecture(arguments.architecture, shape, num_classes=arguments.num_classes)
        found = {
            "architecture": arguments.architecture,
            "input_shape": shape,
            "convention": CONVENTION,
            "layers": [asdict(layer) for layer in layers],
            "total": asdict(complexity.totals(layers)),
        }
        text = tables.complexity_table(layers)
    print(json.dumps(found, indent=2) if arguments.json else f"{text}\n\n{CONVENTION}")


def _add_responses(commands: Commands) -> None:
    parser = commands.add_parser(
        "responses",
        help="standard deviations of a trained network's layer responses",
        description=f"{FIGURE_7} In order, and ranked by magnitude.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="trained weights, .pth or .safetensors")
    parser.add_argument("images", type=Path, metavar="IMAGES", help="a folder of photos (searched below too), or one")
    parser.add_argument("--architecture", help="where shapes cannot tell, such as resnet50-v1 or plain34")
    parser.add_argument("--resize", type=_positive, default=256, help="short side in pixels (default: 256)")
    parser.add_argument("--crop", type=_positive, default=224, help="side of the centre crop (default: 224)")
    parser.add_argument("--batch-size", type=_positive, default=8, help="photos at a time (default: 8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw Fig. 7 there: .png, .svg or .pdf (Matplotlib)")
    parser.set_defaults(command=_responses)


def _responses(arguments: argparse.Namespace) -> None:
    if arguments.plot:
        require_matplotlib()  # before the work, not after it
    checkpoint = load_checkpoint(arguments.checkpoint, architecture=arguments.architecture)
    photos = find_photos(arguments.images)
    measured = responses(checkpoint.network(), _batches(photos, arguments))
    print(
        tables.responses_table(measured), f"\n{FIGURE_7}", f"{checkpoint.architecture}, {len(photos)} photos.", sep="\n"
    )
    if arguments.json:
        found = {
            "source": FIGURE_7,
            "architecture": checkpoint.architecture,
            "checkpoint_sha256": checkpoint.sha256,
            "photos": len(photos),
            "layers": [asdict(response) for response in measured],
            "ranked": [response.name for response in ranked(measured)],
        }
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        plot_responses(measured, f"{checkpoint.architecture}, {len(photos)} photos", arguments.plot)


def _batches(photos: Sequence[Path], arguments: argparse.Namespace) -> Iterator[Tensor]:
    # disable=None: no bar where standard error is not a terminal.
    with tqdm(total=len(photos), unit="photo", disable=None) as bar:
        for start in range(0, len(photos), arguments.batch_size):
            chosen = photos[start : start + arguments.batch_size]
            yield torch.stack([load_photo(p, resize=arguments.resize, crop=arguments.crop) for p in chosen])
            bar.update(len(chosen))


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


if __name__ == "__main__":
    sys.exit(main())
