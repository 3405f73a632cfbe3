"""What an artefact promises: everything serving needs to know, carried inside the ONNX file.

The exporter writes the contract as one JSON document under `METADATA_KEY` in the file's `metadata_props`
(ONNX IR specification, ModelProto); the service reads it back through ONNX Runtime's model metadata, so that
neither side ever guesses. Unknown fields are ignored on reading: an older service can serve a newer artefact
as long as `schema_version` is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import StartError

METADATA_KEY = "resnet.contract"
INPUT_NAME = "image"  # uint8 (N, crop, crop, 3), RGB
OUTPUT_NAME = "probabilities"  # float32 (N, number of labels)
UNTRAINED = "untrained"  # the weights' name when the network was never trained

BLOCKS = 8  # of a golden image, along a side

Precision = Literal["fp32", "fp16", "int8"]
Level = Annotated[int, Field(ge=0, le=255)]


class ContractError(StartError, ValueError):
    """The artefact carries no contract, or one that cannot be honoured."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Preprocessing(_Frozen):
    """How pixels are prepared, in torchvision's terms; `mean` and `std` are applied inside the graph.

    Attributes:
        resize: Length in pixels to which the short side is resized.
        crop: Side in pixels of the centre crop: the network's input.
        interpolation: Filter of the resize, antialiased as Pillow does it.
        mean: Per-channel mean, RGB, of pixels scaled to [0, 1].
        std: Per-channel standard deviation, RGB, of pixels scaled to [0, 1].
    """

    resize: int = Field(gt=0)
    crop: int = Field(gt=0)
    interpolation: Literal["bilinear"] = "bilinear"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @model_validator(mode="after")
    def _crop_fits(self) -> Preprocessing:
        if self.crop > self.resize:
            raise ValueError(f"crop {self.crop} is larger than resize {self.resize}")
        return self


class Label(_Frozen):
    """One class: its WordNet id where it has one, and a readable name."""

    wnid: str | None = None
    label: str


class Weights(_Frozen):
    """Where the numbers came from: a name (official, a file's, or "untrained") and the source's SHA-256."""

    name: str
    sha256: str | None = None

    @property
    def trained(self) -> bool:
        """Whether anything was ever learned."""
        return self.name != UNTRAINED


class Check(_Frozen):
    """One comparison with PyTorch: probabilities of a precision, at one batch size and optimisation level."""

    precision: Precision = "fp32"
    batch_size: int
    optimized: bool
    max_difference: float
    mean_difference: float
    top1_agreement: float


class Quantization(_Frozen):
    """How the int8 graph was made from the verified float32 one, and how well the two agree.

    Attributes:
        method: By which the activations' ranges were chosen, the best of those compared.
        kept_in_float: Parts of the network that are left in float32, since eight bits harmed them more than that costs.
        images: Number of images given to calibrate with.
        held_out: Number of these that only compared: nothing was calibrated on them.
        divergence: Mean Kullback-Leibler divergence from float32's probabilities on those held out, in nats.
        top1_agreement: Part of those held out on which float32's top-1 is int8's.
    """

    method: str
    kept_in_float: tuple[str, ...] = ()
    images: int
    held_out: int
    divergence: float
    top1_agreement: float


class Evaluation(_Frozen):
    """How a precision does on images that the exporting user gave.

    Attributes:
        precision: Of the graph; all are compared with PyTorch in float32.
        images: Number of them that could be decoded.
        top1_agreement: Part of them on which PyTorch's first class is the graph's.
        max_difference: Largest difference of a probability from PyTorch's.
        mean_difference: Mean difference.
        labelled: Number of those whose class is known: all or none.
        top1, top5: Part of those labelled whose class is the first, or among the first five.
    """

    precision: Precision
    images: int
    top1_agreement: float
    max_difference: float
    mean_difference: float
    labelled: int = 0
    top1: float | None = None
    top5: float | None = None


class Certificate(_Frozen):
    """What was verified when the artefact was written.

    Attributes:
        tolerance: Largest difference of probabilities that was allowed; of an int8 artefact, which computes something
            else by intention, that of the float32 graph it was quantised from.
        checks: One entry per precision, batch size and optimisation level: always of float32, and of the artefact's
            own precision.
        quantization: Of an int8 artefact.
        evaluations: By precision, where images were given.
    """

    tolerance: float
    checks: tuple[Check, ...] = Field(min_length=1)
    quantization: Quantization | None = None
    evaluations: tuple[Evaluation, ...] = ()

    def max_difference(self, precision: Precision) -> float:
        """Return the largest difference of a probability in the checks of a precision."""
        return max(check.max_difference for check in self.checks if check.precision == precision)


class Golden(_Frozen):
    """An image, and what the artefact must answer to it on every machine.

    Attributes:
        blocks: Its colours, RGB from 0 to 255, block by block and row by row: `BLOCKS` × `BLOCKS` of them fill the
            network's input.
        top1: The index of the class that comes first.
        probability: Of that class.
        tolerance: How far from it another machine's may be.
    """

    blocks: tuple[tuple[Level, Level, Level], ...] = Field(min_length=BLOCKS**2, max_length=BLOCKS**2)
    top1: int = Field(ge=0)
    probability: float
    tolerance: float


class Contract(_Frozen):
    """The whole promise of one artefact."""

    schema_version: Literal[1] = 1
    name: str
    architecture: str
    precision: Precision = "fp32"
    weights: Weights
    preprocessing: Preprocessing
    labels: tuple[Label, ...] = Field(min_length=1)
    labels_sha256: str
    created: str
    versions: dict[str, str] = Field(default_factory=dict)
    certificate: Certificate | None = None
    golden: tuple[Golden, ...] = ()

    @model_validator(mode="after")
    def _labels_match_their_hash(self) -> Contract:
        if self.labels_sha256 != hash_labels(self.labels):
            raise ValueError("labels do not match labels_sha256")
        return self

    @model_validator(mode="after")
    def _golden_classes_exist(self) -> Contract:
        if any(golden.top1 >= len(self.labels) for golden in self.golden):
            raise ValueError("a golden image is of a class that there is none of")
        return self

    def to_metadata(self) -> dict[str, str]:
        """Return the entries to write into the ONNX file's `metadata_props`."""
        return {METADATA_KEY: self.model_dump_json()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Contract:
        """Read the contract back from an ONNX file's metadata.

        Raises:
            ContractError: there is no contract, or it is not one this version can honour.
        """
        if METADATA_KEY not in metadata:
            raise ContractError("the file carries no contract: write it with resnet-export")
        try:
            return cls.model_validate_json(metadata[METADATA_KEY])
        except ValidationError as error:
            reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
            raise ContractError(f"the artefact's contract cannot be honoured: {reasons}") from error


def hash_labels(labels: tuple[Label, ...]) -> str:
    """Return the SHA-256 (hex) of the labels in order: equal hashes mean equal classes at equal indices."""
    rows = [[label.wnid, label.label] for label in labels]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()
