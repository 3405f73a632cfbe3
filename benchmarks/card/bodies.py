"""What is sent: photos as they are, and their pixels as the Open Inference Protocol has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.contract import INPUT_NAME, OUTPUT_NAME, Contract
from service.image import Decoder


@dataclass(frozen=True)
class Load:
    """Requests of one kind.

    Attributes:
        name: What it is called in the results.
        path: Where they are posted.
        headers: Of each.
        files: Their bodies, posted in turn.
        decoder: Of the service that they are sent to.
    """

    name: str
    path: str
    headers: tuple[str, ...]
    files: tuple[Path, ...]
    decoder: str = "cpu"


def photos(files: Sequence[Path], decoder: str) -> Load:
    """Return requests with a photo each."""
    name = {"cpu": "JPEG in", "gpu": "JPEG in, decoded on the card"}[decoder]
    return Load(name, "/classify", ("Content-Type: image/jpeg",), tuple(files), decoder)


def tensors(files: Sequence[Path], contract: Contract, model: str, folder: Path) -> Load:
    """Return requests with the pixels of a photo each, behind the JSON, and the answer in binary too.

    Args:
        files: The photos.
        contract: What the network takes.
        model: Its name.
        folder: Where the bodies are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    decoder, crop = Decoder(contract.preprocessing), contract.preprocessing.crop
    size = crop * crop * 3
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": INPUT_NAME,
                    "datatype": "UINT8",
                    "shape": [1, crop, crop, 3],
                    "parameters": {"binary_data_size": size},
                }
            ],
            "outputs": [{"name": OUTPUT_NAME, "parameters": {"binary_data": True}}],
        }
    ).encode()
    paths = []
    for number, file in enumerate(files):
        path = folder / f"{number:03}.tensor"
        path.write_bytes(head + decoder.decode(file.read_bytes()).tobytes())
        paths.append(path)
    headers = ("Content-Type: application/octet-stream", f"Inference-Header-Content-Length: {len(head)}")
    return Load("tensor in", f"/v2/models/{model}/infer", headers, tuple(paths))
