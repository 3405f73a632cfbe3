"""Which parts of a network eight bits harm most, and which of them it pays to leave in float32.

A part is a residual block, or what comes before the first one: within it nothing has to change between eight bits and
float. Each is tried alone. It pays where the answers come nearer to float32's by at least as large a share as the
time grows by, as multiply-adds in float32 take `_SLOWER` times those in eight bits; and all that is left in float
together must keep to what an int8 artefact is for: its size and its speed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import onnx
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from export.inspection import inspect

# Measured on one core of an AMD EPYC with VNNI, conversions included: ResNet-18's stem (6.5% of the multiply-adds) made
# its int8 graph 52% slower, ResNet-50's with layer1.2 (8.3%) 48%. The layers that eight bits harm are the early ones,
# whose maps are large.
_SLOWER = 9.0
_MOST_MULTIPLY_ADDS = 0.05  # of all, in float32 together: then int8 is still more than 2.3 times as fast as float32
_MOST_PARAMETERS = 0.015  # of all, in float32 together: each takes three bytes more, so 26% of float32's size
_BLOCK = re.compile(r"(layer\d+\.\d+)\.")


@dataclass(frozen=True)
class Part:
    """Nodes that change between float32 and eight bits together.

    Attributes:
        name: "layer1.0", or "stem" for what comes before the first block.
        nodes: Their names.
        multiply_adds: Share of the network's.
        parameters: Share of the network's.
    """

    name: str
    nodes: tuple[str, ...]
    multiply_adds: float
    parameters: float


def parts(model: onnx.ModelProto) -> list[Part]:
    """Return the parts of a residual net in order; none where there are no blocks.

    Args:
        model: Float32, with its values' shapes.
    """
    names: dict[str, list[str]] = {}
    for node in model.graph.node:
        block = _BLOCK.match(node.name)
        if block:
            names.setdefault(block[1], []).append(node.name)
        elif len(names) <= ("stem" in names) and not node.name.startswith("preprocess."):
            names.setdefault("stem", []).append(node.name)
    if len(names) < 2:
        return []
    costs = {layer.name: layer for layer in inspect(model)}
    multiply_adds = sum(layer.multiply_adds for layer in costs.values())
    parameters = sum(layer.parameters for layer in costs.values())
    found = []
    for name, nodes in names.items():
        own = [costs[node] for node in nodes if node in costs]
        shares = (
            sum(layer.multiply_adds for layer in own) / multiply_adds,
            sum(layer.parameters for layer in own) / parameters,
        )
        found.append(Part(name, tuple(nodes), *shares))
    return found


def worth_leaving(
    candidates: list[Part], divergence: Callable[[list[Part]], float], *, progress: bool = False
) -> list[Part]:
    """Return the parts that it pays to leave in float32, the most sensitive first; often none.

    Args:
        candidates: Of a network.
        divergence: Says how far the answers are from float32's with some parts left in float32.
        progress: Whether to draw a progress bar on standard error.
    """
    small = [part for part in candidates if _fits([part])]
    before = divergence([])
    gains = {}
    for part in tqdm(small, desc="sensitivity", unit="part", disable=not progress, leave=False):
        gain = 1 - divergence([part]) / max(before, 1e-12)
        if gain > part.multiply_adds * (_SLOWER - 1):
            gains[part] = gain
    kept: list[Part] = []
    for part in sorted(gains, key=gains.__getitem__, reverse=True):
        if _fits([*kept, part]):
            kept.append(part)
    # Each helped alone; together they have to as well.
    return kept if len(kept) < 2 or divergence(kept) < before else kept[:1]


def _fits(left: list[Part]) -> bool:
    return (
        sum(part.multiply_adds for part in left) <= _MOST_MULTIPLY_ADDS
        and sum(part.parameters for part in left) <= _MOST_PARAMETERS
    )
