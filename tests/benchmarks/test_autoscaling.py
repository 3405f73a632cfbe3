"""The simulator of autoscaling: its parts against what is known of them, and what is shipped against its judgement."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.autoscaling import day, scalers
from benchmarks.autoscaling.__main__ import main
from benchmarks.autoscaling.costs import COSTS, RESNET50
from benchmarks.autoscaling.play import World, play
from benchmarks.autoscaling.replicas import Replica
from benchmarks.autoscaling.scalers import Memory, Rules, Scaler, Target, decide
from tests.conftest import ROOT

PERFORMANCE = (ROOT / "docs" / "performance.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
SCALER = Scaler(
    2,
    20,
    (Target("cpu", 0.5),),
    up=Rules(0, (("Percent", 100, 15), ("Pods", 4, 15))),
    down=Rules(300, (("Percent", 50, 60),)),
)


def replica(seconds: dict[int, float], capacity: int = 512, cores: int = 1) -> Replica:
    return Replica(seconds, cores, capacity, deadline_s=30, ready_s=0)


@pytest.mark.parametrize("name", COSTS)
def test_a_replica_that_is_never_idle_answers_what_the_service_was_measured_to(name: str) -> None:
    cost = COSTS[name]
    section = PERFORMANCE.split(f"| {cost.name}, 250 photos |")[1]
    measured = float(re.findall(r"^\| concurrency 32 \| ([\d.]+)", section, re.MULTILINE)[0])
    busy = replica(cost.seconds(), capacity=100_000, cores=cost.cores)
    busy.take([0.0] * 500, 1000.0)
    assert len(busy.latencies_s) == 500
    assert 500 / max(busy.latencies_s) == pytest.approx(measured, rel=0.15), "benchmarks/autoscaling/costs.py"


def test_an_image_that_comes_alone_waits_for_nothing() -> None:
    one = replica({1: 0.1})
    one.take([1.0, 2.0], 3.0)
    assert one.latencies_s == pytest.approx([0.1, 0.1])
    assert one.busy_s == pytest.approx(0.2)


def test_waiting_follows_the_formula_for_a_single_server_with_constant_service() -> None:
    """M/D/1 (Pollaczek and Khinchine): the mean wait is rho / (2 (1 - rho)) services."""
    random = np.random.default_rng(1)
    one = replica({1: 0.01}, capacity=10**6)
    one.take(day.arrivals(np.full(4000, 70.0), 0, random).tolist(), 5000.0)
    assert np.mean(one.waits_s) == pytest.approx(0.01 * 0.7 / (2 * 0.3), rel=0.05)


def test_a_full_line_refuses_and_a_deadline_that_passed_is_not_worked_for() -> None:
    full = replica({1: 1.0}, capacity=2)
    full.take([0.0, 0.0, 0.0, 0.0], 10.0)
    assert (full.refused, len(full.latencies_s)) == (1, 3)
    late = Replica({1: 20.0}, 1, 512, deadline_s=30, ready_s=0)
    late.take([0.0, 0.0, 0.0], 100.0)
    assert (late.expired, late.latencies_s) == (1, [20.0, 40.0])


def test_batches_share_a_line_among_idle_cores() -> None:
    two = Replica({1: 1.0, 4: 2.0}, 2, 512, deadline_s=30, ready_s=0)
    two.take([0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 0.9)
    assert two.in_flight(0.9) == 7
    two.take((), 1.0)
    assert two.busy_s == pytest.approx(1 + 1 + 2), "one each, then four on the first core that is free"


def test_a_day_has_its_peak_in_the_afternoon_and_its_spikes() -> None:
    load = day.rates(100, spikes=())
    assert load.argmax() == 16 * 3600
    assert load.max() == pytest.approx(100)
    assert load.min() == pytest.approx(12)
    spiked = day.rates(100, spikes=(day.Spike(3600, 60, 3),)) / load
    assert spiked.sum() - len(load) == pytest.approx(60 * 2)


@pytest.mark.parametrize(
    ("current", "measured", "wanted"),
    [
        (4, 0.5, 4),
        (4, 0.54, 4),  # within the tolerance
        (4, 0.6, 5),  # ceil(4 x 1.2)
        (4, 1.0, 8),
        (2, 1.0, 4),
        (15, 1.0, 20),  # the most
        (4, 0.1, 2),  # ceil(0.8), but not fewer than the fewest
    ],
)
def test_the_wish_is_that_of_the_documentation(current: int, measured: float, wanted: int) -> None:
    assert decide(SCALER, Memory(), 0.0, current, {"cpu": measured}) == wanted


def test_a_sum_is_divided_by_the_target_of_each() -> None:
    assert Target("in-flight", 2, each=True).wish(4, 12.0) == 6
    assert Target("in-flight", 2, each=True).wish(6, 12.5) == 6


def test_no_step_is_larger_than_the_widest_policy() -> None:
    steep = Scaler(1, 100, (Target("queue-wait", 0.1),), SCALER.up, SCALER.down)
    memory = Memory()
    assert decide(steep, memory, 0.0, 1, {"queue-wait": 20.0}) == 5, "1 + 4 is more than 1 x 2"
    assert decide(steep, memory, 15.0, 5, {"queue-wait": 20.0}) == 10


def test_it_shrinks_only_after_the_window_and_by_steps() -> None:
    memory, current, history = Memory(), 16, []
    for tick in range(60):
        measured = {"cpu": 0.5 if tick == 0 else 0.05}
        current = decide(SCALER, memory, tick * 15.0, current, measured)
        history.append(current)
    assert set(history[:20]) == {16}, "300 s"
    assert sorted(set(history), reverse=True) == [16, 8, 4, 2]
    drops = [tick for tick in range(1, 60) if history[tick] < history[tick - 1]]
    assert min(np.diff(drops)) * 15 >= 60


def test_what_is_shipped_is_read_from_the_manifests() -> None:
    hpa, keda = scalers.read_hpa(), scalers.read_keda()
    assert [each.metric for each in hpa.targets] == ["cpu"]
    assert {(each.metric, each.each) for each in keda.targets} == {("in-flight", True), ("queue-wait", False)}
    assert hpa.up == keda.up
    assert hpa.down == keda.down
    assert (hpa.fewest, hpa.most) == (keda.fewest, keda.most)


@pytest.mark.parametrize("scaler", [scalers.read_hpa(), scalers.read_keda()], ids=["hpa", "keda"])
def test_what_is_shipped_follows_a_load_that_doubles(scaler: Scaler) -> None:
    """Ten minutes at 40 images/s, then at 80: answered in time by about as many replicas as it takes."""
    load = np.repeat([40.0, 80.0], [600, 1200])
    played = play(World(RESNET50), load, scaler)
    assert played.offered == pytest.approx(40 * 600 + 80 * 1200, rel=0.02)
    assert played.refused + played.expired == 0
    assert len(played.latencies_s) == pytest.approx(played.offered, rel=0.001)
    settled = played.replicas[-20:]
    assert 80 / RESNET50.images_per_s < min(settled)
    assert max(settled) <= 10
    assert np.nanmax(played.p99_s[-20:]) < 1.0


def test_too_few_replicas_are_told_by_refusals() -> None:
    fixed = Scaler(1, 1, SCALER.targets, SCALER.up, SCALER.down)
    played = play(World(RESNET50), np.full(120, 60.0), fixed)
    assert played.refused + played.expired == pytest.approx(120 * (60 - RESNET50.images_per_s) - 512, rel=0.1)
    assert set(played.replicas) == {1}
    assert played.replica_hours == pytest.approx(120 / 3600)


@pytest.mark.slow  # draws a figure, and plays whole days
def test_a_table_and_a_figure_come_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "day.png"
    assert main(["--shipped", "--peak", "4", "--figure", str(figure)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.count("|") == 8 for line in lines)
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_capacity_table_is_what_follows_from_its_first_column() -> None:
    rows = re.findall(
        r"^\| 2 cores, [^|]+\| ([\d.]+) \| (\d+) \| (\d+) \| (\d+) \|$",
        OPERATIONS,
        re.MULTILINE,
    )
    assert len(rows) == len(COSTS)
    share = scalers.read_hpa().target(scalers.CPU)
    for rate, *replicas in rows:
        wanted = [math.ceil(load / (float(rate) * share)) for load in (1_000, 10_000, 100_000)]
        assert [int(each) for each in replicas] == wanted


def test_the_documented_table_has_what_is_shipped_in_bold() -> None:
    bold = re.findall(r"^\| \*\*(.+)\*\* \|", OPERATIONS, re.MULTILINE)
    hpa, keda = scalers.read_hpa(), scalers.read_keda()
    flight, wait_s = keda.target(scalers.IN_FLIGHT), keda.target(scalers.QUEUE_WAIT)
    assert bold == [f"HPA: CPU {hpa.target(scalers.CPU):.0%}", f"KEDA: {flight:g} in flight, {wait_s:g} s in line"]
