"""Write an artefact's contract into its file, and read back what asked for it.

The contract itself is `service.contract.Contract`: one definition, on the side that honours it. Beside it the
file carries the settings it was exported with, so that `--if-missing` can tell whether it is what is wanted.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

from service import seal
from service.contract import Certificate, Contract, Golden, Label, Precision, Preprocessing, Weights, hash_labels

SETTINGS_KEY = "resnet.export_settings"
_PACKAGES = ("resnet-serve", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")


def build(
    *,
    name: str,
    architecture: str,
    precision: Precision,
    weights: Weights,
    preprocessing: Preprocessing,
    labels: tuple[Label, ...],
    certificate: Certificate,
    golden: tuple[Golden, ...],
) -> Contract:
    """Return the contract of an artefact made now, here."""
    return Contract(
        name=name,
        architecture=architecture,
        precision=precision,
        weights=weights,
        preprocessing=preprocessing,
        labels=labels,
        labels_sha256=hash_labels(labels),
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        versions=tool_versions(),
        certificate=certificate,
        golden=golden,
    )


def tool_versions() -> dict[str, str]:
    """Return the versions of what makes an artefact."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # this project itself, run from its sources without being installed
            continue
    return versions


def attach(model: onnx.ModelProto, contract: Contract, settings: Mapping[str, Any]) -> None:
    """Write the contract, and the settings that led to it, into the model's metadata, with room for the checksum."""
    metadata = contract.to_metadata() | {SETTINGS_KEY: json.dumps(settings, sort_keys=True)}
    metadata[seal.METADATA_KEY] = seal.BLANK
    onnx.helper.set_model_props(model, metadata)
    model.producer_name = "resnet-export"
    model.producer_version = contract.versions.get("resnet-serve", "")
    model.graph.name = contract.architecture


def read_settings(path: Path) -> dict[str, Any] | None:
    """Return the settings an artefact was exported with; None where the file is damaged or not one of ours."""
    try:
        seal.check(path)
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError, seal.Damaged):
        return None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if SETTINGS_KEY not in metadata:
        return None
    settings: dict[str, Any] = json.loads(metadata[SETTINGS_KEY])
    return settings
