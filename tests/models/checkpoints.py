"""Checkpoint files that stand for those of trained nets, small ones."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models import zoo

Tensors = dict[str, Tensor]


def stand_in(architecture: str, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensors:
    """Return tensors of a trained net's keys and shapes, each filled with a number of its own: a small file."""
    with torch.device("meta"):
        net = zoo.create(architecture, num_classes=num_classes).state_dict()
    return {
        key: torch.tensor(0.01 * (i + 1), dtype=dtype if tensor.is_floating_point() else tensor.dtype).expand(
            tensor.shape
        )
        for i, (key, tensor) in enumerate(net.items())
    }


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + key: tensor for key, tensor in tensors.items()}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def equal(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
