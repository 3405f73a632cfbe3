"""`resnet-export inspect ARTEFACT`: what an artefact promises, and what is in it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from export.commands.common import ARTEFACT_HELP, EXIT_CODES, add_json, add_repository, write_json

if TYPE_CHECKING:
    from export.artefact import Artefact
    from export.inspection import Layer

DESCRIPTION = """\
Show what is in an artefact: its contract, and layer by layer the kind of weights, their size, and the
multiply-adds for one image. Nothing is computed."""

EPILOG = f"""\
examples:
  resnet-export inspect resnet50                              the latest version in artifacts/
  resnet-export inspect artifacts/resnet50/2/model.onnx --json layers.json

{EXIT_CODES}"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's flags."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("artefact", metavar="ARTEFACT", help=ARTEFACT_HELP)
    add_repository(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the contract and a table of the layers."""
    from export.artefact import find_artefact, read_artefact  # onnx takes half a second to import: only now
    from export.inspection import inspect, operators

    artefact = read_artefact(find_artefact(arguments.artefact, arguments.artifacts))
    layers, nodes = inspect(artefact.model), operators(artefact.model)
    print("\n".join(_contract(artefact)))
    print(f"operators     {', '.join(f'{count} {name}' for name, count in nodes.items())}\n")
    print(_table(layers))
    write_json(
        arguments.json,
        {
            "file": str(artefact.path),
            "bytes": artefact.path.stat().st_size,
            "contract": artefact.contract.model_dump(mode="json"),
            "operators": nodes,
            "layers": [asdict(layer) for layer in layers],
            "total": _totals(layers),
        },
    )


def _contract(artefact: Artefact) -> Iterator[str]:
    contract = artefact.contract
    preprocessing, certificate = contract.preprocessing, contract.certificate
    yield f"file          {artefact.path}, {artefact.path.stat().st_size / 1e6:.1f} MB"
    yield f"model         {contract.name}: {contract.architecture} in {contract.precision}"
    yield f"weights       {contract.weights.name}, sha256 {contract.weights.sha256 or 'of none'}"
    yield f"written       {contract.created} by {', '.join(f'{k} {v}' for k, v in contract.versions.items())}"
    yield (
        f"images        short side to {preprocessing.resize} ({preprocessing.interpolation}, antialiased), centre crop "
        f"{preprocessing.crop}; mean {preprocessing.mean}, std {preprocessing.std}"
    )
    yield f"classes       {len(contract.labels)}: {contract.labels[0].label} … {contract.labels[-1].label}"
    if certificate is None:
        yield "certificate   NONE: nobody has shown that it computes what was trained"
    else:
        largest = certificate.max_difference(contract.precision)
        yield f"certificate   differs from PyTorch by {largest:.1e} at most, in {len(certificate.checks)} comparisons"
    yield f"golden images {len(contract.golden)}"


def _totals(layers: list[Layer]) -> dict[str, int]:
    return {
        what: sum(getattr(layer, what) for layer in layers) for what in ("parameters", "size_bytes", "multiply_adds")
    }


def _table(layers: list[Layer]) -> str:
    from models.tables import align

    rows = [
        (
            layer.name,
            layer.kind,
            "x".join(map(str, layer.output_shape)),
            layer.weights,
            f"{layer.parameters:,}",
            f"{layer.size_bytes:,}",
            f"{layer.multiply_adds:,}",
        )
        for layer in layers
    ]
    totals = [f"{total:,}" for total in _totals(layers).values()]
    header = ("layer", "kind", "output", "weights", "parameters", "bytes", "multiply-adds")
    return align(header, [*rows, ("total", "", "", "", *totals)])
