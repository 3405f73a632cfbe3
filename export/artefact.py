"""An artefact that is there already: found by what a user calls it, and read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

from export.errors import BadInput
from service.contract import Contract, ContractError
from service.errors import StartError
from service.repository import FILE_NAME, find

if TYPE_CHECKING:
    from service.engine import Engine


@dataclass(frozen=True)
class Artefact:
    """An artefact, read: its file, its graph with the weights, and its contract."""

    path: Path
    model: onnx.ModelProto
    contract: Contract


def find_artefact(called: str, repository: Path) -> Path:
    """Return the file that a user means.

    Args:
        called: A file, the folder it is in, or a model's name, with or without `:VERSION`.
        repository: Where names are looked up.

    Raises:
        BadInput: there is no such artefact.
    """
    path = Path(called)
    if path.is_file():
        return path
    if (path / FILE_NAME).is_file():
        return path / FILE_NAME
    try:
        return find(repository, called).path
    except StartError as error:
        raise BadInput(f"{called} is no file, nor a folder with {FILE_NAME}, and {error}") from error


def read_artefact(path: Path) -> Artefact:
    """Read an artefact.

    Raises:
        BadInput: the file is no model, or carries no contract that can be honoured.
    """
    try:
        model = onnx.load(path)
        contract = Contract.from_metadata({entry.key: entry.value for entry in model.metadata_props})
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except DecodeError as error:
        raise BadInput(f"{path} is no ONNX file, or a damaged one") from error
    except ContractError as error:
        raise BadInput(f"{path}: {error}") from error
    return Artefact(path, model, contract)


def load_engine(path: Path, provider: str) -> Engine:
    """Return the engine that would serve an artefact.

    Raises:
        BadInput: it cannot be loaded, or comes out wrong on this machine.
    """
    from service.engine import open_engine
    from service.golden import examine

    try:
        engine = open_engine(path, provider=provider)  # type: ignore[arg-type]  # argparse has seen to it
    except StartError as error:
        raise BadInput(f"{path}: {error}") from error
    if (fault := examine(engine).fault) is not None:
        raise BadInput(f"{path}: {fault}")
    return engine
