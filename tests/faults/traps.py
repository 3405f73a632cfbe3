"""A real artefact that goes wrong on certain images, each in its own way, inside ONNX Runtime.

It is `brightness`, which says how grey an image is, so that an answer says whose it is; but five greys are traps.
Nothing of the service takes part in this: what is served is a file, and what fails is the runtime that runs it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.onnx_ml_pb2 import GraphProto, NodeProto

from service import seal
from service.contract import INPUT_NAME, OUTPUT_NAME
from tests.service.artefacts import contract_of, grey_labels

CROP = 32

NOT_A_NUMBER = 249  # its own row is NaN: the logarithm of a negative number
FAILS = 250  # the run raises: an index out of bounds
TOO_FEW_ROWS = 251  # its row is missing
HANGS = 252  # the run never ends: a loop whose condition stays true
HUNGRY = 253  # in a run of more than four images it needs 64 TiB
SLOW = 254  # takes a while: a loop of as many rounds as that takes
GREYS = range(249)  # all others are harmless
_ROUNDS = 200_000  # a second or so


def write_traps(repository: Path, version: int = 1, *, hungry_always: bool = False) -> Path:
    """Write the artefact `traps` and return its path; `hungry_always`, every image is one of the hungry."""
    contract = contract_of("traps", grey_labels(), CROP)
    graph = helper.make_graph(
        [*_brightness(), *_not_a_number(), *_fails(), *_hungry(always=hungry_always), *_loops(), *_too_few_rows()],
        contract.name,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", CROP, CROP, 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["rows", 256])],
        [numpy_helper.from_array(value, name) for name, value in _CONSTANTS.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, contract.to_metadata() | {seal.METADATA_KEY: seal.BLANK})
    onnx.checker.check_model(model)
    path = repository / contract.name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(seal.seal(model.SerializeToString()))
    return path


_CONSTANTS: dict[str, np.ndarray] = {
    "levels": np.arange(256, dtype=np.float32)[None],  # (1, classes)
    "second": np.array([1], np.int64),
    "zero": np.array(0, np.int64),
    "one": np.array([1], np.int64),
    "far": np.array(1_000_000, np.int64),
    "huge": np.array([1 << 46], np.int64),
    "two": np.array(2, np.float32),
    "four": np.array(4, np.int64),
    "nothing": np.array(0, np.float32),
    "for_ever": np.array(np.iinfo(np.int64).max, np.int64),
    "rounds": np.array(_ROUNDS, np.int64),
    **{f"trap {level}": np.array(level, np.float32) for level in range(NOT_A_NUMBER, SLOW + 1)},
}


def _node(kind: str, inputs: list[str], output: str, **attributes: object) -> NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def _caught(level: int) -> list[NodeProto]:
    """Name `caught LEVEL` (N,): 1.0 for each image that is in this trap, else 0.0."""
    return [
        _node("Equal", ["grey", f"trap {level}"], f"in {level}"),
        _node("Cast", [f"in {level}"], f"caught {level}", to=TensorProto.FLOAT),
        _node("ReduceSum", [f"caught {level}"], f"count {level}", keepdims=0),  # ()
    ]


def _brightness() -> list[NodeProto]:
    return [
        _node("Cast", [INPUT_NAME], "pixels", to=TensorProto.FLOAT),
        _node("Flatten", ["pixels"], "flat"),  # (N, H × W × 3)
        _node("ReduceMean", ["flat", "second"], "mean", keepdims=1),  # (N, 1)
        _node("Round", ["mean"], "rounded"),
        _node("Squeeze", ["rounded", "second"], "grey"),  # (N,)
        _node("Sub", ["mean", "levels"], "distance"),  # (N, classes)
        _node("Mul", ["distance", "distance"], "square"),
        _node("Neg", ["square"], "logits"),
        _node("Softmax", ["logits"], "answers"),
    ]


def _not_a_number() -> list[NodeProto]:
    """Add log(1 - 2 × caught) to each row: 0, or the logarithm of -1."""
    return [
        *_caught(NOT_A_NUMBER),
        _node("Mul", [f"caught {NOT_A_NUMBER}", "two"], "twice"),
        _node("Sub", ["unit", "twice"], "sign"),
        _node("Log", ["sign"], "poison"),  # (N,)
        _node("Unsqueeze", ["poison", "second"], "poison rows"),  # (N, 1)
        _node("Add", ["answers", "poison rows"], "poisoned"),
    ]


def _fails() -> list[NodeProto]:
    """Look up the 1,000,000th of 256 levels if anything is caught."""
    return [
        *_caught(FAILS),
        _node("Cast", [f"count {FAILS}"], "failures", to=TensorProto.INT64),
        _node("Mul", ["failures", "far"], "index"),
        _node("Gather", ["levels", "index"], "looked up", axis=1),  # (1,)
    ]


def _hungry(*, always: bool) -> list[NodeProto]:
    """Fill one byte; if anything is caught, 2^46 more for each whole four images but the first of a run."""
    return [
        *_caught(HUNGRY),
        _node("Cast", ["unit" if always else f"count {HUNGRY}"], "hungry", to=TensorProto.INT64),
        _node("Size", ["grey"], "images"),
        _node("Sub", ["images", "one"], "but one"),
        _node("Div", ["but one", "four"], "fours"),
        _node("Mul", ["hungry", "fours"], "portions"),
        _node("Mul", ["portions", "huge"], "more"),
        _node("Add", ["more", "one"], "bytes"),  # (1,)
        _node("ConstantOfShape", ["bytes"], "filled", value=helper.make_tensor("value", TensorProto.UINT8, [1], [1])),
        _node("Size", ["filled"], "size"),
    ]


def _loops() -> list[NodeProto]:
    """Loop as long as anything is caught; for ever, or for a number of rounds."""
    return [
        node
        for level, rounds in ((HANGS, "for_ever"), (SLOW, "rounds"))
        for node in (
            *_caught(level),
            _node("Greater", [f"count {level}", "nothing"], f"any {level}"),
            helper.make_node("Loop", [rounds, f"any {level}", "zero"], [f"looped {level}"], body=_body(level)),
        )
    ]


def _body(level: int) -> GraphProto:
    def value(name: str, kind: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(f"{name} {level}", kind, [])

    return helper.make_graph(
        [
            _node("Identity", [f"go on {level}"], f"goes on {level}"),
            _node("Add", [f"counted {level}", f"round {level}"], f"counts {level}"),
        ],
        f"body {level}",
        [value("round", TensorProto.INT64), value("go on", TensorProto.BOOL), value("counted", TensorProto.INT64)],
        [value("goes on", TensorProto.BOOL), value("counts", TensorProto.INT64)],
    )


def _too_few_rows() -> list[NodeProto]:
    """Leave the caught rows out. Whatever the other traps computed is added, times zero, so that it is computed."""
    others = ["looked up", "size", f"looped {HANGS}", f"looped {SLOW}"]
    return [
        *_caught(TOO_FEW_ROWS),
        *(_node("Cast", [name], f"{name} as float", to=TensorProto.FLOAT) for name in others),
        _node("Sum", [f"{name} as float" for name in others], "others"),
        _node("Mul", ["others", "nothing"], "traces"),
        _node("Add", ["poisoned", "traces"], "all rows"),
        _node("Not", [f"in {TOO_FEW_ROWS}"], "kept"),
        _node("Compress", ["all rows", "kept"], OUTPUT_NAME, axis=0),
    ]


_CONSTANTS["unit"] = np.array(1, np.float32)
