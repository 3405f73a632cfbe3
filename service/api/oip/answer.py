"""Rows of probabilities as an inference response: all of them or the most probable classes, in JSON or in binary."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from service.contract import OUTPUT_NAME
from service.errors import Unprocessable
from service.rows import top

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.api.oip.request import Form
    from service.model import Model

_LENGTH = struct.Struct("<I")


def response(model: Model, identifier: str, rows: NDArray[np.float32], form: Form) -> tuple[bytes, dict[str, str]]:
    """Return the body that answers with `rows` (N, classes), and its headers.

    Args:
        model: That has answered.
        identifier: The request's; left out where it is empty.
        rows: Probabilities.
        form: How to give them.
    """
    output, binary = _all(rows, form.binary) if form.classes is None else _classes(model, rows, form)
    head: dict[str, Any] = {"model_name": model.name, "model_version": str(model.version)}
    if identifier:
        head["id"] = identifier
    text = msgspec.json.encode(head | {"outputs": [{"name": OUTPUT_NAME} | output]})
    if binary is None:
        return text, {"Content-Type": "application/json"}
    return text + binary, {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(text)),
    }


def check_classes(model: Model, form: Form) -> None:
    """Refuse to name no classes, or more than there are, before anything is computed.

    Raises:
        Unprocessable: `form` asks for that.
    """
    if form.classes is not None and not 1 <= form.classes <= model.predictions.classes:
        raise Unprocessable(f"classification must be a whole number from 1 to {model.predictions.classes}")


def _all(rows: NDArray[np.float32], binary: bool) -> tuple[dict[str, Any], bytes | None]:
    tensor: dict[str, Any] = {"datatype": "FP32", "shape": list(rows.shape)}
    if binary:
        data = rows.astype("<f4", copy=False).tobytes()
        return tensor | {"parameters": {"binary_data_size": len(data)}}, data
    return tensor | {"data": rows.ravel().tolist()}, None


def _classes(model: Model, rows: NDArray[np.float32], form: Form) -> tuple[dict[str, Any], bytes | None]:
    """Return for each row "value:index:label" of its most probable classes (Triton's classification extension)."""
    labels = model.contract.labels
    # With seven digits, as /classify has them: all that float32 holds.
    named = [f"{row[index]:.7g}:{index}:{labels[index].label}" for row in rows for index in top(row, form.classes or 0)]
    tensor: dict[str, Any] = {"datatype": "BYTES", "shape": [len(rows), form.classes]}
    if not form.binary:
        return tensor | {"data": named}, None
    encoded = [name.encode() for name in named]
    data = b"".join(_LENGTH.pack(len(name)) + name for name in encoded)
    return tensor | {"parameters": {"binary_data_size": len(data)}}, data
