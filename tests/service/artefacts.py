"""Tiny real artefacts: ONNX files with a contract, written in milliseconds without torch.

`brightness` answers which grey its image is: class 137 is "grey 137". So an answer says whose it is.
`mean` averages pixels and little more: all that a request costs is the service's own.
`laborious` is `brightness` that takes its time: as much for each image of a batch, on one core.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.onnx_ml_pb2 import NodeProto
from onnx.onnx_ml_pb2 import TensorProto as Tensor

from service.contract import (
    BLOCKS,
    INPUT_NAME,
    OUTPUT_NAME,
    Contract,
    Golden,
    Label,
    Preprocessing,
    Weights,
    hash_labels,
)

GREYS = 256


def contract_of(name: str, labels: tuple[Label, ...], crop: int, weights: str = "made by hand") -> Contract:
    """Return a whole contract of an artefact whose network sees `crop` × `crop` pixels."""
    return Contract(
        name=name,
        architecture=name,
        weights=Weights(name=weights),
        preprocessing=Preprocessing(resize=crop, crop=crop, mean=(0, 0, 0), std=(1, 1, 1)),
        labels=labels,
        labels_sha256=hash_labels(labels),
        created="2026-01-01T00:00:00Z",
    )


def grey_labels() -> tuple[Label, ...]:
    """Return the classes of `brightness`."""
    return tuple(Label(label=f"grey {level}") for level in range(GREYS))


def grey_golden(level: int, top1: int) -> Golden:
    """Return a golden image all of one grey, said to be of class `top1`."""
    # Of the distances' squares only the nearest count: e⁰ and twice e⁻¹, e⁻⁴, e⁻⁹.
    probability = 1 / (1 + 2 * sum(np.exp(-(d**2)) for d in range(1, 10)))
    return Golden(blocks=((level,) * 3,) * BLOCKS**2, top1=top1, probability=float(probability), tolerance=0.01)


def write_brightness(
    repository: Path,
    version: int = 1,
    crop: int = 32,
    weights: str = "made by hand",
    golden: tuple[Golden, ...] = (),
    name: str = "brightness",
    shift: int = 0,
) -> Path:
    """Write `brightness`: class i + `shift` is the more probable the nearer the mean of all pixels is to i."""
    levels = np.arange(GREYS, dtype=np.float32)[None] - shift  # (1, classes)
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),  # (N, H × W × 3)
        helper.make_node("ReduceMean", ["flat", "axis"], ["mean"], keepdims=1),  # (N, 1)
        helper.make_node("Sub", ["mean", "levels"], ["distance"]),  # (N, classes)
        helper.make_node("Mul", ["distance", "distance"], ["square"]),
        helper.make_node("Neg", ["square"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT_NAME]),
    ]
    constants = {"axis": np.array([1], np.int64), "levels": levels}
    contract = contract_of(name, grey_labels(), crop, weights).model_copy(update={"golden": golden})
    return _write(repository, version, contract, nodes, constants)


def write_mean(repository: Path, version: int = 1, crop: int = 224, classes: int = 1000) -> Path:
    """Write `mean`: the average pixel times a random matrix, as little as a network can compute."""
    labels = tuple(Label(wnid=f"n{index:08d}", label=f"class {index}") for index in range(classes))
    matrix = np.random.default_rng(0).normal(0, 0.01, (3, classes)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),  # (N, 3)
        helper.make_node("MatMul", ["mean", "matrix"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT_NAME]),
    ]
    constants = {"axes": np.array([1, 2], np.int64), "matrix": matrix}
    return _write(repository, version, contract_of("mean", labels, crop), nodes, constants)


def write_laborious(repository: Path, rounds: int) -> Path:
    """Write `laborious`: so many rounds of a loop for each image, 5 µs or so each, then which grey it is."""
    levels = np.arange(GREYS, dtype=np.float32)[None]  # (1, classes)
    scalar = [helper.make_tensor_value_info(f"{name}", kind, []) for name, kind in _LOOPED]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go on"], ["goes on"]), helper.make_node("Add", ["sum", "round"], ["sums"])],
        "round",
        scalar[:3],
        scalar[3:],
    )
    nodes = [
        helper.make_node("Cast", [INPUT_NAME], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),  # (N, H × W × 3)
        helper.make_node("ReduceMean", ["flat", "axis"], ["mean"], keepdims=1),  # (N, 1)
        helper.make_node("Size", ["mean"], ["images"]),
        helper.make_node("Mul", ["images", "rounds"], ["all rounds"]),
        helper.make_node("Loop", ["all rounds", "yes", "zero"], ["looped"], body=body),
        helper.make_node("Cast", ["looped"], ["result"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["result", "nothing"], ["traces"]),  # so that it is computed
        helper.make_node("Sub", ["mean", "levels"], ["distance"]),  # (N, classes)
        helper.make_node("Mul", ["distance", "distance"], ["square"]),
        helper.make_node("Sub", ["traces", "square"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUT_NAME]),
    ]
    constants = {"axis": np.array([1], np.int64), "levels": levels, "rounds": np.array(rounds, np.int64)}
    constants |= {"yes": np.array(True), "zero": np.array(0, np.int64), "nothing": np.array(0, np.float32)}
    return _write(repository, 1, contract_of("laborious", grey_labels(), 32), nodes, constants)


_LOOPED = (
    ("round", TensorProto.INT64),
    ("go on", TensorProto.BOOL),
    ("sum", TensorProto.INT64),
    ("goes on", TensorProto.BOOL),
    ("sums", TensorProto.INT64),
)


def _write(
    repository: Path, version: int, contract: Contract, nodes: list[NodeProto], constants: dict[str, np.ndarray]
) -> Path:
    crop, classes = contract.preprocessing.crop, len(contract.labels)
    initializers: list[Tensor] = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        contract.name,
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", crop, crop, 3])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", classes])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, contract.to_metadata())
    path = repository / contract.name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, as the exporter does it: a service may be watching.
    onnx.save(model, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)
    return path
