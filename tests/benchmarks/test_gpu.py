"""benchmarks.gpu: its arithmetic, its table, and all of it small on the CPU."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from benchmarks import gpu
from benchmarks.card import crowd, model, pytorch, results, watch
from benchmarks.card.plan import Budget
from benchmarks.card.results import CARD_JPEG, JPEG, TENSOR, Results, verdicts
from benchmarks.card.service import Cell
from benchmarks.generator import Summary
from service.engine import CUDA
from tests.conftest import ROOT


def reading(images_per_s: float, p99_ms: float = 10.0, failed: int = 0) -> crowd.Reading:
    return crowd.Reading(images_per_s, 5.0, p99_ms, failed, 24.5, 3.0, 1.5, 0.87, 2048.0)


@pytest.fixture
def measured() -> Results:
    return Results(
        about={"card": "H200"},
        alone=[
            model.Reading("fp16", "default", 32, 8000.0, 900.0, 1e-4),
            model.Reading("fp16", "default", 128, 10_000.0, 1200.0, 1e-4),
            model.Reading("fp16", "fused bias", 128, 99_000.0, 1200.0, 0.5),
            model.Reading("fp16", "heuristic search", trouble="CUDNN|FAILED"),
        ],
        pytorch=[pytorch.Reading("eager", 128, 5000.0), pytorch.Reading("max-autotune", 128, trouble="no time")],
        bare_decoding_per_s=6000.0,
        cells=[
            Cell(TENSOR, 4, 128, reading=reading(7000.0)),
            Cell(TENSOR, 8, 512, reading=reading(9000.0)),
            Cell(JPEG, 8, 512, reading=reading(5700.0)),
            Cell(CARD_JPEG, 16, 512, reading=reading(9100.0)),
            Cell(TENSOR, 4, 0, 4900.0, reading(4890.0, p99_ms=8.0)),
            Cell(TENSOR, 8, 0, 6300.0, reading(6290.0, p99_ms=26.0)),
        ],
        left_out=["16 frontends: no time was left"],
    )


def test_the_bound_is_the_fastest_whose_answers_are_right(measured: Results) -> None:
    assert measured.bound == model.Reading("fp16", "default", 128, 10_000.0, 1200.0, 1e-4)
    assert not measured.healthy, "a variant that computes something else is no good news"
    del measured.alone[2]
    assert measured.healthy
    measured.cells.append(Cell(JPEG, 16, 32, reading=reading(1.0, failed=1)))
    assert not measured.healthy


def test_the_aims_are_judged_by_ratios_inside_the_run(measured: Results) -> None:
    found = {verdict.what: (round(verdict.reached, 4), verdict.met) for verdict in verdicts(measured)}
    assert found == {
        "engine alone ÷ PyTorch's best": (2.0, True),
        "tensor in ÷ engine alone": (0.9, True),
        "JPEG in, decoded by the CPU ÷ a bare loop of decoding": (0.95, True),
        "JPEG in, decoded on the card": (9100.0, True),
        "tensor in: p99 at 70% load": (26.0, False),
    }


def test_nothing_is_judged_by_what_was_not_measured() -> None:
    assert list(verdicts(Results())) == []
    assert [verdict.what for verdict in verdicts(Results(alone=[model.Reading("fp16", "default", 1, 10.0)]))] == []


def test_the_table_has_every_figure_and_every_trouble(measured: Results) -> None:
    page = results.to_markdown(measured)
    assert "| fp16, default | 128 | 10000 | 1200 | 1.0e-04 |" in page
    assert "5.0e-01 WRONG" in page
    assert "CUDNN/FAILED" in page, "a bar would end the cell"
    assert "| max-autotune | 128 | no time |" in page
    assert "| tensor in | 8 | 512 | 9000 | 0.900 | 5.0 | 10.0 | 24.5 | 87% | 3.0 | 1.5 | 0 |" in page
    assert "| tensor in | 8 | 6300/s arrive | 6290 |" in page
    assert "- not measured: 16 frontends" in page
    for table in page.split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in rows}) <= 1, "a row has other columns than its head"


def test_json_has_no_nan(measured: Results) -> None:
    measured.cells.append(Cell(JPEG, 1, 1, reading=reading(math.nan)))
    text = json.dumps(results.to_json(measured), allow_nan=False)
    assert json.loads(text)["bound"]["images_per_s"] == 10_000


def test_generators_together_are_the_sum_of_rates_and_the_worst_tail() -> None:
    one = Summary(100.0, 4.0, 9.0, 2.0, 1.0, 1, None)
    other = Summary(50.0, 6.0, 30.0, 0.0, None, 0, None)
    silent = Summary(0.0, None, None, 0.0, None, 0, None)
    assert crowd.merged([one, other, silent], 3.0) == (150.0, 5.0, 30.0, 7)
    rate, p50_ms, p99_ms, failed = crowd.merged([silent], 3.0)
    assert (rate, failed) == (0.0, 0)
    assert math.isnan(p50_ms)
    assert math.isnan(p99_ms)


@pytest.mark.parametrize(("total", "parts", "shares"), [(10, 4, [3, 3, 2, 2]), (2, 4, [1, 1]), (8, 1, [8])])
def test_clients_are_divided_among_generators(total: int, parts: int, shares: list[int]) -> None:
    assert crowd.divided(total, parts) == shares


def test_how_full_batches_are_is_read_off_two_scrapes() -> None:
    before = 'resnet_batch_images_bucket{le="1"} 3\nresnet_batch_images_count 10\nresnet_batch_images_sum 100\n'
    after = "resnet_batch_images_count 14\nresnet_batch_images_sum 228\n"
    assert crowd.batch_images(before, after) == 32
    assert math.isnan(crowd.batch_images(after, after))


def test_what_the_budget_does_not_allow_is_said() -> None:
    budget = Budget(5.0)
    assert budget.allows("a", 1.0)
    assert not budget.allows("b", 100.0)
    part = budget.part(0.5)
    assert not part.allows("c", 3.0)
    assert budget.allows("d", 3.0), "the rest is for what comes after"
    assert budget.left_out == ["b: no time was left", "c: no time was left"]


def test_a_card_is_watched_by_whatever_can_read_it() -> None:
    assert watch.parse_smi("87, 2048\n") == (87.0, 2048.0)
    with watch.Watch(None) as nothing:
        pass
    assert nothing.busy is None
    samples = iter([(50.0, 10.0), (100.0, 30.0)])

    def read() -> watch.Sample:
        try:
            return next(samples)
        except StopIteration:
            return 75.0, 20.0

    with watch.Watch(read, every_s=0.001) as watched:
        while len(watched.samples) < 4:
            pass
    assert watched.busy == pytest.approx(0.75)
    assert watched.memory_mib == 30.0


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="there may be a card")
def test_without_a_card_nothing_is_measured_and_it_is_said_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu.main(["--scratch", str(tmp_path / "a"), "--output", str(tmp_path / "b")]) == 2
    assert "no card can be used here: ONNX Runtime here was built for" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What `--dry-run` says without a shared folder, with no load generator but its own."""
    folder = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, "benchmarks/gpu.py", "--dry-run", "--shared", str(folder / "none")]
    command += ["--scratch", str(folder), "--output", str(folder)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    assert done.stdout.strip() == (folder / "gpu.md").read_text().strip()
    return found, done.stdout


@pytest.mark.slow  # every part of it, in ten seconds
def test_a_dry_run_goes_through_every_part(dry: tuple[dict[str, Any], str]) -> None:
    found, page = dry
    assert found["bound"]["images_per_s"] > 0
    assert [each["batch"] for each in found["alone"]] == [1, 4]
    assert [each["mode"] for each in found["pytorch"]] == ["eager"]
    assert found["pytorch"][0]["images_per_s"] > 0, found["pytorch"]
    assert found["bare_decoding_per_s"] > 0
    assert {(cell["load"], bool(cell["clients"])) for cell in found["cells"]} == {
        (TENSOR, True),
        (TENSOR, False),
        (JPEG, True),
        (JPEG, False),
    }
    for cell in found["cells"]:
        assert cell["reading"]["images_per_s"] > 0, cell
        assert cell["reading"]["failed"] == 0, cell
        assert cell["reading"]["batch_images"] >= 1, cell
        assert cell["reading"]["server_cores"] > 0, cell
    assert len(found["targets"]) == 5
    assert found["left_out"] == ["decoding on the card: there is no card"]
    assert "a dry run on the CPU: its figures say nothing" in page
