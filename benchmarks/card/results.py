"""Figures -> ratios to the bound, verdicts on the aims, a short table, JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.card import model, pytorch
from benchmarks.card.service import Cell
from benchmarks.targets import Verdict

TENSOR, JPEG, CARD_JPEG = "tensor in", "JPEG in", "JPEG in, decoded on the card"


@dataclass
class Results:
    """Everything that was measured.

    Attributes:
        about: Card, versions, command, date.
        alone: The engine alone.
        pytorch: PyTorch.
        bare_decoding_per_s: Photos a second that all cores decode with nothing else to do; 0 where not measured.
        cells: Through HTTP.
        left_out: What was not measured, and why.
    """

    about: dict[str, Any] = field(default_factory=dict)
    alone: list[model.Reading] = field(default_factory=list)
    pytorch: list[pytorch.Reading] = field(default_factory=list)
    bare_decoding_per_s: float = 0.0
    cells: list[Cell] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def bound(self) -> model.Reading | None:
        """The fastest of the engine alone whose answers are right, or None."""
        right = [reading for reading in self.alone if reading.images_per_s and not model.wrong(reading)]
        return max(right, key=lambda reading: reading.images_per_s or 0.0, default=None)

    def best(self, load: str) -> Cell | None:
        """Return the fastest cell of a load under clients that wait for their answers."""
        cells = [cell for cell in self.cells if cell.load == load and cell.clients and cell.reading]
        return max(cells, key=_rate, default=None)

    def steady(self, load: str) -> Cell | None:
        """Return the cell of a load at a steady rate where it was fastest."""
        cells = [cell for cell in self.cells if cell.load == load and cell.offered_per_s and cell.reading]
        return max(cells, key=lambda cell: cell.offered_per_s, default=None)

    @property
    def healthy(self) -> bool:
        """Whether all that ran answered, and rightly."""
        answered = all(not cell.trouble and cell.reading and not cell.reading.failed for cell in self.cells)
        return answered and not any(model.wrong(reading) for reading in self.alone) and self.bound is not None


def verdicts(results: Results) -> Iterator[Verdict]:
    """Yield the aims of ResNet-50 in half precision on an H200 that these results can speak of."""
    bound = results.bound
    fastest = max((reading.images_per_s or 0.0 for reading in results.pytorch), default=0.0)
    if bound is None or bound.images_per_s is None:
        return
    if fastest:
        yield Verdict("engine alone ÷ PyTorch's best", 1.0, bound.images_per_s / fastest)
    if tensor := results.best(TENSOR):
        yield Verdict("tensor in ÷ engine alone", 0.85, _rate(tensor) / bound.images_per_s)
    if (jpeg := results.best(JPEG)) and results.bare_decoding_per_s:
        least = min(results.bare_decoding_per_s, bound.images_per_s)
        yield Verdict("JPEG in, decoded by the CPU ÷ a bare loop of decoding", 0.9, _rate(jpeg) / least)
    if decoded := results.best(CARD_JPEG):
        yield Verdict(CARD_JPEG, 9000.0, _rate(decoded), unit=" images/s")
    for load in (TENSOR, JPEG, CARD_JPEG):
        steady = results.steady(load)
        if steady and steady.reading:
            yield Verdict(f"{load}: p99 at 70% load", 25.0, steady.reading.p99_ms, at_least=False, unit=" ms")


def to_json(results: Results) -> dict[str, Any]:
    """Return everything, the verdicts too; what is not a number is null."""
    return {
        **_without_nan(asdict(results)),
        "bound": _without_nan(asdict(results.bound)) if results.bound else None,
        "targets": [_without_nan({**asdict(verdict), "met": verdict.met}) for verdict in verdicts(results)],
    }


def to_markdown(results: Results) -> str:
    """Return a short page of tables."""
    parts = [
        [", ".join(f"{key}: {value}" for key, value in results.about.items())],
        _alone(results.alone),
        _pytorch(results.pytorch),
        _cells(results),
        _verdicts(list(verdicts(results))),
        [f"- not measured: {what}" for what in results.left_out],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _alone(readings: Sequence[model.Reading]) -> list[str]:
    head = ["| engine alone | batch | images/s | MiB of the card | largest difference |", "|---|--:|--:|--:|--:|"]
    rows = []
    for each in readings:
        name = f"{each.precision}, {each.variant}"
        if each.trouble:
            rows.append(f"| {name} | | {each.trouble.replace('|', '/')} | | |")
        else:
            wrong = " WRONG" if model.wrong(each) else ""
            figures = f"{each.images_per_s:.0f} | {each.memory_mib:.0f} | {each.difference:.1e}{wrong}"
            rows.append(f"| {name} | {each.batch} | {figures} |")
    return [*head, *rows] if rows else []


def _pytorch(readings: Sequence[pytorch.Reading]) -> list[str]:
    head = ["| PyTorch | batch | images/s |", "|---|--:|--:|"]
    rows = [
        f"| {each.mode} | {each.batch} | {each.images_per_s:.0f} |"
        if each.images_per_s
        else f"| {each.mode} | {each.batch} | {each.trouble.replace('|', '/')} |"
        for each in readings
    ]
    return [*head, *rows] if rows else []


def _cells(results: Results) -> list[str]:
    columns = ("through HTTP", "frontends", "clients", "images/s", "÷ bound", "p50 ms", "p99 ms", "images a run")
    head = [f"| {' | '.join((*columns, 'card busy', 'cores', 'of load', 'failed'))} |", "|---" + "|--:" * 11 + "|"]
    bound = results.bound.images_per_s if results.bound else None
    ordered = sorted(results.cells, key=lambda cell: (cell.load, cell.frontends, cell.clients or math.inf))
    rows = [_row(cell, bound) for cell in ordered]
    if results.bare_decoding_per_s:
        rows.append(f"| a bare loop of decoding | | | {results.bare_decoding_per_s:.0f} |" + " |" * 8)
    return [*head, *rows] if rows else []


def _row(cell: Cell, bound: float | None) -> str:
    clients = str(cell.clients) if cell.clients else f"{cell.offered_per_s:.0f}/s arrive"
    start = f"| {cell.load} | {cell.frontends} | {clients} |"
    reading = cell.reading
    if reading is None:
        return f"{start} {cell.trouble.replace('|', '/')} |" + " |" * 8
    ratio = f"{reading.images_per_s / bound:.3f}" if bound else ""
    busy = "" if reading.card_busy is None else f"{reading.card_busy:.0%}"
    figures = (
        f"{reading.images_per_s:.0f} | {ratio} | {reading.p50_ms:.1f} | {reading.p99_ms:.1f} | "
        f"{reading.batch_images:.1f} | {busy} | {reading.server_cores:.1f} | {reading.client_cores:.1f} | "
        f"{reading.failed}"
    )
    return f"{start} {figures} |"


def _verdicts(found: Sequence[Verdict]) -> list[str]:
    head = ["| aim | target | reached | |", "|---|--:|--:|---|"]
    rows = [
        f"| {each.what} | {'≥' if each.at_least else '≤'} {each.target:g}{each.unit} | {each.reached:.3g}{each.unit} "
        f"| {'met' if each.met else 'not met'} |"
        for each in found
    ]
    return [*head, *rows] if rows else []


def _rate(cell: Cell) -> float:
    return cell.reading.images_per_s if cell.reading else 0.0


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value
