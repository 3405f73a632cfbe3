"""What trainers write around and instead of torchvision's state dict -> torchvision's state dict.

    what was read ─ unwrap ─▶ tensors by name ─ strip_prefix ─▶ the net's own keys ─ rename ─▶ torchvision's keys

| trainer | what it saves |
|---|---|
| torchvision, timm (`resnet18` … `resnet152`, `vgg16` …) | these keys, bare or in "model", "state_dict", … |
| DistributedDataParallel, AveragedModel (EMA) | keys after "module." |
| torch.compile | keys after "_orig_mod." |
| Lightning | in "state_dict", keys after the attribute's name, such as "model." |
| Hugging Face `ResNetForImageClassification` | keys of its own, after "resnet." |
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from models.errors import CheckpointError

# In order of preference: where an averaged (EMA) net was kept, it is the one whose accuracy is reported.
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
_DEPTH = 4  # containers within each other; a crafted file may hold one within itself
# A key of each layout from which the prefix can be told, whatever came before: "module._orig_mod." and so on.
_ANCHOR = re.compile(r"(?P<prefix>(?:\w+\.)*?)(?:layer1\.0\.|features\.0\.|resnet\.encoder\.stages\.0\.)")
_BLOCK = re.compile(
    r"resnet\.encoder\.stages\.(?P<stage>\d+)\.layers\.(?P<block>\d+)\."
    r"(?:layer\.(?P<layer>\d+)|shortcut)\.(?P<kind>convolution|normalization)\.(?P<tensor>\w+)"
)


def to_torchvision(content: object) -> dict[str, Tensor]:
    """Return the tensors of what a checkpoint holds, by torchvision's keys as far as they are known ones.

    Whatever stands beside the network (epoch, optimiser, a loss's own weights, an average's counter) is left
    out; keys that no known trainer writes stay as they are.

    Raises:
        CheckpointError: no tensors by name, or several networks.
    """
    return rename(strip_prefix(unwrap(content)))


def unwrap(content: object) -> dict[str, Tensor]:
    """Return the named tensors inside whatever containers a trainer put around them."""
    for _ in range(_DEPTH):
        if not isinstance(content, Mapping):
            raise CheckpointError(f"expected tensors by name, found {type(content).__name__}")
        inner = [content[name] for name in CONTAINERS if isinstance(content.get(name), Mapping) and content[name]]
        if not inner:
            return _named_tensors(content)
        content = inner[0]
    raise CheckpointError(f"expected tensors by name, found containers in more than {_DEPTH} containers")


def _named_tensors(content: Mapping[object, object]) -> dict[str, Tensor]:
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, list(content)[:8])) or "nothing"
        raise CheckpointError(f"expected tensors by name, bare or in one of {', '.join(CONTAINERS)}; found {keys}")
    return tensors


def strip_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the one network there is, without what wrappers put before each of its keys."""
    prefixes = {match["prefix"] for key in tensors if (match := _ANCHOR.match(key))}
    if len(prefixes) > 1:
        names = ", ".join(prefix or "(none)" for prefix in sorted(prefixes))
        raise CheckpointError(f"holds several networks, under the prefixes {names}: save the one that is meant")
    prefix = prefixes.pop() if prefixes else ""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by torchvision's keys, where they have Hugging Face's."""
    if not any(_BLOCK.fullmatch(key) for key in tensors):
        return dict(tensors)
    return {_from_hugging_face(key): value for key, value in tensors.items()}


def _from_hugging_face(key: str) -> str:
    if match := _BLOCK.fullmatch(key):
        # Stages and layers are counted from 0 there; torchvision's names count from 1.
        row, block, tensor = int(match["stage"]) + 1, match["block"], match["tensor"]
        convolution = match["kind"] == "convolution"
        if match["layer"] is None:
            return f"layer{row}.{block}.downsample.{0 if convolution else 1}.{tensor}"
        return f"layer{row}.{block}.{'conv' if convolution else 'bn'}{int(match['layer']) + 1}.{tensor}"
    key = key.replace("resnet.embedder.embedder.convolution.", "conv1.")
    key = key.replace("resnet.embedder.embedder.normalization.", "bn1.")
    return re.sub(r"^classifier\.1\.", "fc.", key)
