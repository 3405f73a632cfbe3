"""Read the weights of a trained network from what common trainers save, and check them.

Four steps, a file each but the last: `reading` turns the file into Python objects, `layouts` these into tensors
by torchvision's keys, `recognise` names the architecture, and here the tensors are held against its shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models import reading, zoo
from models.errors import CheckpointError
from models.hashing import sha256
from models.layouts import to_torchvision
from models.recognise import recognise

__all__ = ["Checkpoint", "CheckpointError", "load_checkpoint"]

_COUNTER = ".num_batches_tracked"  # of no use outside training: older trainers do not write it
_NAMED = 6  # keys named of each kind, before only counting


@dataclass(frozen=True)
class Checkpoint:
    """A trained network's weights, complete and of the right shapes.

    Attributes:
        architecture: A name in `zoo.ARCHITECTURES`.
        num_classes: Width of the last layer.
        state_dict: Tensors by torchvision's keys, on the CPU; floating-point ones are float32 and finite.
        sha256: Of the file they were read from, as hexadecimal digits.
    """

    architecture: str
    num_classes: int
    state_dict: dict[str, Tensor]
    sha256: str

    def network(self) -> nn.Module:
        """Build the network with these weights (shared, not copied), in eval mode."""
        with torch.device("meta"):
            model = zoo.create(self.architecture, num_classes=self.num_classes)
        model.load_state_dict(self.state_dict, assign=True)
        return model.eval()


def load_checkpoint(path: Path, *, architecture: str | None = None, num_labels: int | None = None) -> Checkpoint:
    """Read and check a file of trained weights: what `torch.save` wrote, or .safetensors.

    No code from the file is ever run. Half precision is cast to float32.

    Args:
        path: The file.
        architecture: A name in `zoo.ARCHITECTURES`. None tells it from the shapes, which leaves two things to
            assume: the stride of bottlenecks on the 3×3, and option A, not a plain net (see `recognise`).
        num_labels: How many labels there are, where that is known; the last layer must have as many outputs.

    Raises:
        CheckpointError: the file is damaged, would run code, holds another layout or other shapes than the
            architecture's (named: missing, unexpected and misshaped keys), NaN or infinity, or has not as
            many outputs as there are labels.
        ValueError: there is no such architecture.
    """
    if architecture is not None and architecture not in zoo.ARCHITECTURES:
        raise ValueError(f"unknown architecture {architecture!r}: choose from {', '.join(zoo.ARCHITECTURES)}")
    content = reading.read(path)
    try:
        tensors = {key: _to_float32(key, tensor) for key, tensor in to_torchvision(content).items()}
        found = architecture or recognise(tensors)
        if found is None:
            raise CheckpointError(_unknown_layout(tensors))
        num_classes, state_dict = _matched(found, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if num_labels is not None and num_labels != num_classes:
        raise CheckpointError(
            f"{path}: the network tells {num_classes} classes apart, but there are {num_labels} labels"
        )
    return Checkpoint(found, num_classes, state_dict, sha256(path))


def _to_float32(key: str, tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        raise CheckpointError(f"{key} is not a plain tensor of numbers, but {tensor.dtype}, {tensor.layout}")
    if key.endswith(_COUNTER):
        return tensor.long()
    if not tensor.is_floating_point():
        return tensor  # no weight of any network here: it will be named as misshaped or unexpected
    tensor = tensor.detach().float().contiguous()
    if not tensor.isfinite().all():
        raise CheckpointError(f"{key} holds NaN or infinity: training diverged, or half precision overflowed")
    return tensor


def _matched(architecture: str, tensors: Mapping[str, Tensor]) -> tuple[int, dict[str, Tensor]]:
    """Return the number of classes and the tensors, complete and in the architecture's order."""
    head = tensors.get("classifier.6.weight" if architecture.startswith("vgg") else "fc.weight")
    num_classes = head.shape[0] if head is not None and head.ndim == 2 else 1000
    with torch.device("meta"):
        expected = zoo.create(architecture, num_classes=num_classes).state_dict()
    missing = [key for key in expected if key not in tensors and not key.endswith(_COUNTER)]
    unexpected = [key for key in tensors if key not in expected]
    misshaped = [
        f"{key} {_shape(tensors[key])}, not {_shape(tensor)}"
        for key, tensor in expected.items()
        if key in tensors and _shape(tensors[key]) != _shape(tensor)
    ]
    if missing or unexpected or misshaped:
        found = (("missing", missing), ("unexpected", unexpected), ("misshaped", misshaped))
        faults = "; ".join(_bounded(kind, keys) for kind, keys in found if keys)
        hint = _hint(architecture, tensors)
        raise CheckpointError(f"these are not the weights of {architecture}{hint}: {faults}")
    return num_classes, {key: tensors.get(key, torch.tensor(0)) for key in expected}


def _shape(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)}{'' if tensor.is_floating_point() else f' {tensor.dtype}'}"


def _hint(architecture: str, tensors: Mapping[str, Tensor]) -> str:
    likely = recognise(tensors)
    return f" (they look like {likely})" if likely not in (None, architecture) else ""


def _bounded(kind: str, keys: Iterable[str]) -> str:
    keys = list(keys)
    rest = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{len(keys)} {kind}: {', '.join(keys[:_NAMED])}{rest}"


def _unknown_layout(tensors: Mapping[str, Tensor]) -> str:
    found = [f"{key} {tuple(tensor.shape)}" for key, tensor in tensors.items()]
    return (
        "no known network. Expected: a ResNet's keys as torchvision and timm name them (conv1.weight "
        "(64, 3, 7, 7), layer1.0.conv1.weight, … fc.weight), or as Hugging Face does "
        "(resnet.embedder.embedder.convolution.weight, …), or a VGG's (features.0.weight, …), of a depth that "
        f"the zoo has. Found: {_bounded('tensors', found)}"
    )
