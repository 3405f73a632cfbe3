"""File of weights -> what it holds, without ever running code from it."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.errors import CheckpointError


def read(path: Path) -> object:
    """Return what a .safetensors file, or else a file that `torch.save` wrote, holds, on the CPU.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it asks for code to be run.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        return load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except CheckpointError:
        raise
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged, or not a safetensors file ({error})") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # an unpickler on damaged bytes raises whatever the bytes lead it to
        raise CheckpointError(f"{path}: damaged, or not a file written by torch.save") from error


def _unpickle(path: Path) -> object:
    # The training scripts of torchvision and of timm save their arguments too: plain values in a class that runs
    # nothing when it is made.
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
        warnings.simplefilter("ignore")  # torch warns of a TorchScript archive, and then refuses it
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            refused = _refused_objects(path, error)
            if not refused:
                raise
    raise CheckpointError(
        f"{path}: holds Python objects besides tensors ({refused}), and loading those could run any code. "
        "If you trust the file, save the tensors alone where it was trained, with "
        'torch.save(model.state_dict(), "weights.pth"), or from the file, with '
        f'torch.save(torch.load("{path.name}", weights_only=False)["state_dict"], "weights.pth")'
    )


def _refused_objects(path: Path, error: pickle.UnpicklingError, limit: int = 5) -> str:
    """Name what a file would import and `weights_only` refuses; empty where that is not what went wrong."""
    try:
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # damaged, or of the format before torch 1.6, where the error names the first one only
        names = re.findall(r"GLOBAL (\S+)", str(error))
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
