"""The certificate beside the artefact, for people (Markdown) and for programs (JSON): what is in the contract, told.

Both name the artefact by its hash, so that they cannot be taken for another's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from service.contract import Certificate, Contract, Evaluation

JSON_NAME, MARKDOWN_NAME = "certificate.json", "certificate.md"
_PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}


def documents(contract: Contract, artefact: bytes) -> dict[str, bytes]:
    """Return the certificate's files by name.

    Args:
        contract: With a certificate.
        artefact: The ONNX file that carries it.
    """
    certificate = contract.certificate
    if certificate is None:
        raise ValueError("the contract has no certificate")
    sha256 = hashlib.sha256(artefact).hexdigest()
    as_json = json.dumps(_document(contract, certificate, sha256, len(artefact)), indent=2, ensure_ascii=False)
    as_markdown = "\n".join(_page(contract, certificate, sha256, len(artefact)))
    return {JSON_NAME: f"{as_json}\n".encode(), MARKDOWN_NAME: f"{as_markdown}\n".encode()}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table: the first column flush left, the others flush right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]


def _document(contract: Contract, certificate: Certificate, sha256: str, size_bytes: int) -> dict[str, Any]:
    told = contract.model_dump(mode="json", include={"name", "architecture", "precision", "created", "preprocessing"})
    return {
        **told,
        "artefact": {"sha256": sha256, "bytes": size_bytes},
        "weights": contract.weights.model_dump(mode="json"),
        "versions": contract.versions,
        "classes": len(contract.labels),
        "labels_sha256": contract.labels_sha256,
        **certificate.model_dump(mode="json"),
    }


def _page(contract: Contract, certificate: Certificate, sha256: str, size_bytes: int) -> Iterator[str]:
    yield f"# Certificate of {contract.name}"
    yield ""
    yield from table(["what", "value"], list(_provenance(contract, sha256, size_bytes)))
    yield ""
    yield "## Difference from PyTorch"
    yield ""
    yield (
        "Of probabilities, from PyTorch in float32 on the CPU, on seeded synthetic images; ONNX Runtime with its "
        "optimisations off and on."
    )
    yield ""
    yield from _differences(certificate)
    yield ""
    yield _verdict(contract, certificate)
    if certificate.quantization is not None:
        yield from ("", "## Quantisation", "")
        yield _quantized(certificate)
    if certificate.evaluations:
        yield from ("", "## On the images given", "")
        yield from _evaluated(certificate.evaluations)


def _provenance(contract: Contract, sha256: str, size_bytes: int) -> Iterator[tuple[str, str]]:
    preprocessing = contract.preprocessing
    yield "architecture", contract.architecture
    yield "precision", _PRECISIONS[contract.precision]
    yield "artefact", f"{size_bytes:,} bytes, sha256 `{sha256}`"
    source = f"{contract.weights.name}, sha256 `{contract.weights.sha256}`"
    yield "source checkpoint", source if contract.weights.sha256 else contract.weights.name
    yield "classes", f"{len(contract.labels)}, sha256 `{contract.labels_sha256}`"
    yield "images", f"short side to {preprocessing.resize}, centre crop {preprocessing.crop}"
    yield "written", contract.created
    yield "by", ", ".join(f"{tool} {version}" for tool, version in contract.versions.items())


def _differences(certificate: Certificate) -> list[str]:
    header = ["precision", "batch size", "optimisations", "largest", "mean", "same first class"]
    rows = [
        (
            _PRECISIONS[check.precision],
            str(check.batch_size),
            "on" if check.optimized else "off",
            f"{check.max_difference:.1e}",
            f"{check.mean_difference:.1e}",
            f"{check.top1_agreement:.0%}",
        )
        for check in certificate.checks
    ]
    return table(header, rows)


def _verdict(contract: Contract, certificate: Certificate) -> str:
    bound = f"{certificate.tolerance:.0e} is the most that was allowed"
    if contract.precision == "int8":
        return f"Of float32, {bound}. Int8 computes something else by intention; it has no such bound."
    return f"{bound}, in {_PRECISIONS[contract.precision]}."


def _quantized(certificate: Certificate) -> str:
    quantization = certificate.quantization
    if quantization is None:
        return ""
    seen = quantization.images - quantization.held_out
    in_float = f"; in float32: {', '.join(quantization.kept_in_float)}" if quantization.kept_in_float else ""
    return (
        f"Calibrated on {seen} images (activations' ranges: {quantization.method}{in_float}). On "
        f"{quantization.held_out} others it has float32's first class on {quantization.top1_agreement:.1%}, and its "
        f"probabilities diverge by {quantization.divergence:.4f} nats (Kullback-Leibler, mean)."
    )


def _evaluated(evaluations: Sequence[Evaluation]) -> list[str]:
    header = ["precision", "images", "same first class", "largest difference", "mean", "top-1", "top-5"]
    return table(header, [_evaluation(each) for each in evaluations])


def _evaluation(each: Evaluation) -> tuple[str, ...]:
    return (
        _PRECISIONS[each.precision],
        str(each.images),
        f"{each.top1_agreement:.1%}",
        f"{each.max_difference:.1e}",
        f"{each.mean_difference:.1e}",
        "" if each.top1 is None else f"{each.top1:.1%}",
        "" if each.top5 is None else f"{each.top5:.1%}",
    )
