"""An inference request: what the JSON of a body asks for, and the one tensor that it brings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from service.api.oip.tensors import files_from_binary, files_from_json, numbers_from_json
from service.contract import INPUT_NAME, OUTPUT_NAME
from service.errors import BadRequest, TooLarge

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

ENCODED_NAME = "encoded_image"  # BYTES (N): whole files
HEADER_LENGTH = "inference-header-content-length"

_LARGEST_PART = 1 << 16  # bytes of JSON of parameters, outputs or a shape: these are made into objects
_Parameters = dict[str, bool | int | float | str | None]


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: msgspec.Raw
    data: msgspec.Raw = msgspec.Raw()
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


class _Output(msgspec.Struct):
    name: str
    parameters: _Parameters = {}


class _Request(msgspec.Struct):
    # Raw parts are skipped over, not made: whatever else a body holds, it costs its own bytes.
    inputs: tuple[_Input]
    id: str = ""
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    outputs: msgspec.Raw = msgspec.Raw(b"[]")


class Form(NamedTuple):
    """How the probabilities are to be answered.

    Attributes:
        binary: As binary data behind the JSON.
        classes: How many of the most probable classes instead of all probabilities, or None.
    """

    binary: bool
    classes: int | None


class Inference(NamedTuple):
    """What a request asks.

    Attributes:
        id: To be given back with the answer; may be empty.
        pixels: uint8 (N, crop, crop, 3), or None.
        files: N encoded images, where there are no pixels.
        form: How to answer.
        timeout_s: The client's own limit; infinity without one.
        priority: 1 (highest) to 5; 0 for the default.
    """

    id: str
    pixels: NDArray[np.uint8] | None
    files: list[bytes]
    form: Form
    timeout_s: float
    priority: int


def header_end(header_length: str | None, size: int) -> int:
    """Return where in a body of `size` bytes the JSON ends: by its Inference-Header-Content-Length, else at the end.

    Raises:
        BadRequest: that is no number, or beyond the body.
    """
    if header_length is None:
        return size
    if not (header_length.isascii() and header_length.isdecimal() and int(header_length[:20]) <= size):
        raise BadRequest(f"Inference-Header-Content-Length must be a number of the body's {size} bytes")
    return int(header_length)


def parse(body: bytes, at: int, crop: int, max_images: int) -> Inference:
    """Read a whole body; takes long where it has large tensors in JSON.

    Args:
        body: JSON up to `at`, then binary tensor data. Without JSON it is one encoded image, to be answered in binary
            (Triton's raw binary request).
        at: Where the JSON ends.
        crop: Side of the model's images in pixels.
        max_images: How many are accepted.

    Raises:
        BadRequest: it is not such a request.
        TooLarge: it has more images than `max_images`.
    """
    if not body:
        raise BadRequest("the body is empty: send an inference request")
    if at == 0:
        return Inference("", None, [body], Form(binary=True, classes=None), math.inf, 0)
    asked = _decoded(body[:at], _Request, "the inference request")
    tensor, parameters = asked.inputs[0], _small(asked.parameters, _Parameters, "parameters")
    pixels, files = _tensor(tensor, _binary(tensor, memoryview(body)[at:]), crop, max_images)
    timeout_us = _number(parameters, "timeout")
    return Inference(
        id=asked.id,
        pixels=pixels,
        files=files,
        form=_form(_small(asked.outputs, list[_Output], "outputs"), _flag(parameters, "binary_data_output")),
        timeout_s=timeout_us / 1e6 if timeout_us else math.inf,
        priority=_number(parameters, "priority"),
    )


def _binary(tensor: _Input, rest: memoryview) -> memoryview | None:
    """Return the tensor's binary data: all that follows the JSON, or None where the tensor is in JSON."""
    size = _small(tensor.parameters, _Parameters, "the input's parameters").get("binary_data_size")
    if size is None:
        if len(rest):
            raise BadRequest(f"{len(rest)} bytes follow the JSON, but no input has a binary_data_size")
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size != len(rest):
        raise BadRequest(f"binary_data_size is {str(size)[:32]}, but {len(rest)} bytes follow the JSON")
    if bytes(tensor.data):
        raise BadRequest("the input has both data and a binary_data_size")
    return rest


def _tensor(
    tensor: _Input, binary: memoryview | None, crop: int, max_images: int
) -> tuple[NDArray[np.uint8] | None, list[bytes]]:
    datatype, expected = {INPUT_NAME: ("UINT8", [-1, crop, crop, 3]), ENCODED_NAME: ("BYTES", [-1])}.get(
        tensor.name, (None, [])
    )
    if datatype is None:
        raise BadRequest(f"no input {tensor.name[:64]!r}: send {INPUT_NAME!r} or {ENCODED_NAME!r}")
    if tensor.datatype != datatype:
        raise BadRequest(f"{tensor.name} is {datatype}, not {tensor.datatype[:16]!r}")
    shape = _small(tensor.shape, list[int], "shape")
    if tensor.name == ENCODED_NAME and len(shape) == 2 and shape[1] == 1:
        del shape[1]  # as clients send it that know of a batch and an element
    if len(shape) != len(expected) or shape[1:] != expected[1:] or shape[0] < 1:
        raise BadRequest(f"{tensor.name} has the shape {expected}, where -1 is how many images, not {shape[:8]}")
    images = shape[0]
    if images > max_images:
        raise TooLarge(f"{images} images, the limit is {max_images} a request")
    text = bytes(tensor.data)
    if tensor.name == ENCODED_NAME:
        return None, files_from_json(text, images) if binary is None else files_from_binary(binary, images)
    count = math.prod(shape)
    if binary is not None and len(binary) != count:
        raise BadRequest(f"the tensor has {len(binary)} bytes, its shape says {count}")
    elements = numbers_from_json(text, count) if binary is None else np.frombuffer(binary, np.uint8)
    return elements.reshape(shape), []


def _form(outputs: list[_Output], binary: bool) -> Form:
    if not outputs:
        return Form(binary, None)
    if len(outputs) > 1 or outputs[0].name != OUTPUT_NAME:
        names = ", ".join(repr(output.name[:64]) for output in outputs[:4])
        raise BadRequest(f"the only output is {OUTPUT_NAME!r}, not {names}")
    parameters = outputs[0].parameters
    classes = _number(parameters, "classification") if "classification" in parameters else None
    return Form(_flag(parameters, "binary_data", default=binary), classes)


def _number(parameters: _Parameters, name: str) -> int:
    value = parameters.get(name, 0)
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())  # JSON knows but one number
    if isinstance(value, bool) or not whole or value < 0:  # type: ignore[operator]
        raise BadRequest(f"the parameter {name} must be a whole number, 0 at least, not {str(value)[:32]!r}")
    return int(value)  # type: ignore[arg-type]


def _flag(parameters: _Parameters, name: str, *, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"the parameter {name} must be true or false, not {str(value)[:32]!r}")
    return value


def _small(part: msgspec.Raw, kind: Any, what: str) -> Any:
    text = bytes(part)
    if len(text) > _LARGEST_PART:
        raise TooLarge(f"{what}: {len(text)} bytes, the limit is {_LARGEST_PART}")
    return _decoded(text, kind, what)


def _decoded(text: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(f"{what} is malformed: {str(error)[:200]}") from error
