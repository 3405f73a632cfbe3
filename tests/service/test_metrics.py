"""What is counted, by one process and by several: exactly, in bounded memory, and past any process's death."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from service import errors
from service.errors import ServiceError, StartError
from service.families import CELLS, COUNTED, FAMILIES, MODELS, OFFSETS, OUTCOMES
from service.ledger import Ledger
from service.metrics import Histogram, Metrics
from service.model import Timing
from service.statistics import Runs, Statistics, Total


def count(metrics: Metrics, name: str, *labels: str) -> float:
    return float(metrics.ledger.total([OFFSETS[name, labels]])[0])


def test_a_value_is_counted_in_the_first_bucket_whose_bound_is_not_below_it() -> None:
    metrics = Metrics()
    family = next(family for family in COUNTED if family.name == "resnet_batch_images")
    for images in (1, 2, 3, 4, 5000):
        metrics.ran(images, 0.1)
    at = OFFSETS[family.name, ()]
    cells = metrics.ledger.total(slice(at, at + family.cells)).tolist()
    assert cells == [1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5010]


def test_every_error_of_the_service_has_an_outcome() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)]
    assert {kind.reason for kind in kinds} == set(OUTCOMES) - {"answered", "cancelled", "slow"}


def test_no_two_series_share_a_cell() -> None:
    taken = [
        OFFSETS[family.name, labels] + cell
        for family in COUNTED
        for labels in family.series
        for cell in range(family.cells)
    ]
    layout = Metrics(largest=8).layout
    taken += [cell for column in range(MODELS + 1) for cell in range(layout.cells)[layout.block(column)]]
    assert sorted([*taken, layout.beats]) == list(range(layout.cells))
    assert layout.block(0).start == CELLS
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_what_a_dropped_image_saves_is_what_an_image_has_cost() -> None:
    metrics = Metrics()
    metrics.dropped("cancelled", 3)
    assert count(metrics, "resnet_saved_compute_seconds_total") == 0, "nothing has run yet"
    metrics.ran(8, 0.4)
    metrics.dropped("expired", 2)
    metrics.dropped("expired", 0)
    assert count(metrics, "resnet_saved_compute_seconds_total") == pytest.approx(0.1)
    assert count(metrics, "resnet_dropped_images_total", "cancelled") == 3
    assert count(metrics, "resnet_dropped_images_total", "expired") == 2


def statistics(metrics: Metrics, name: str, version: int = 1) -> Statistics:
    return Statistics(metrics.ledger, metrics.layout, name, version)


def test_models_beyond_the_bound_are_counted_as_one() -> None:
    metrics = Metrics(largest=8)
    counts = [metrics.model(f"model-{number}", 1) for number in range(MODELS + 5)]
    for number, each in enumerate(counts):
        each.predicted(number, 0.0, 0.0)
    assert [statistics(metrics, f"model-{number}")[Total.IMAGES] for number in range(MODELS)] == [*range(MODELS)]
    assert statistics(metrics, f"model-{MODELS}")[Total.IMAGES] == 0
    other = metrics.layout.block(MODELS).start + Total.IMAGES
    assert metrics.ledger.total([other]).tolist() == [sum(range(MODELS, MODELS + 5))]


def test_a_service_that_takes_new_versions_for_years_tells_the_latest_apart() -> None:
    metrics = Metrics(largest=8)
    always = metrics.model("always", 1)
    for version in range(1, 50):
        counts = metrics.model("new", version)
        counts.predicted(version, 0.0, 0.0)
        always.predicted(1, 0.0, 0.0)
        counts.close()
    assert statistics(metrics, "always")[Total.IMAGES] == 49
    found = {version: statistics(metrics, "new", version)[Total.IMAGES] for version in range(1, 50)}
    assert found == {version: version if version > 49 - (MODELS - 1) else 0 for version in range(1, 50)}


def test_a_model_that_is_loaded_again_goes_on_where_it_was_also_beside_itself() -> None:
    metrics = Metrics(largest=8)
    first = metrics.model("a", 1)
    second = metrics.model("a", 1)  # a file in the place of another: both serve while the first one's callers wait
    for each in (first, second):
        each.predicted(2, 0.0, 0.0)
    first.close()
    for number in range(MODELS + 1):
        metrics.model(f"model-{number}", 1).close()
    assert statistics(metrics, "a")[Total.IMAGES] == 4, "the second still counts there"


def test_runs_are_told_apart_by_their_images_up_to_the_largest() -> None:
    metrics = Metrics(largest=8)
    counts, other = metrics.model("a", 1), metrics.model("b", 1)
    for images, seconds in ((1, 0.1), (8, 0.5), (8, 0.6), (3, 0.2)):
        counts.ran(images, seconds)
    other.ran(1, 0.7)
    assert list(statistics(metrics, "a").runs()) == [Runs(1, 1, 0.1), Runs(3, 1, 0.2), Runs(8, 2, 1.1)]
    assert list(statistics(metrics, "b").runs()) == [Runs(1, 1, 0.7)]
    assert count(metrics, "resnet_batch_images") == 2, "one image each"


def test_names_as_long_as_folders_can_have_are_told_apart() -> None:
    metrics = Metrics(largest=1)
    for version in (1234567890, 1234567891):
        metrics.model("m" * 255, version).predicted(version % 10 + 2, 0.0, 0.0)
    assert [statistics(metrics, "m" * 255, version)[Total.IMAGES] for version in (1234567890, 1234567891)] == [2, 3]


def _count_and_die(path: Path, row: int) -> None:
    metrics = Metrics.join(path, row, 8)
    requests = metrics.requests("/classify")
    for _ in range(1000):
        requests.began()
        requests.ended("answered", 0.001)
    requests.began()  # and never ends
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_that_are_killed_and_replaced_lose_no_count(tmp_path: Path) -> None:
    """Three places, the second of which is filled three times over."""
    metrics = Metrics.share(tmp_path / "metrics", 4, 8)
    context = multiprocessing.get_context("fork")
    for rows in ((1, 2, 3), (2,), (2,)):
        children = [context.Process(target=_count_and_die, args=(tmp_path / "metrics", row)) for row in rows]
        for child in children:
            child.start()
        for child in children:
            child.join(30)
            assert child.exitcode == -signal.SIGKILL
    assert count(metrics, "resnet_requests_total", "/classify", "answered") == 5000
    assert count(metrics, "resnet_requests_in_flight") == 3, "of each place's latest process"
    Metrics.join(tmp_path / "metrics", 2, 8)
    assert count(metrics, "resnet_requests_in_flight") == 2, "a successor has nothing in flight"


def test_without_room_it_does_not_start() -> None:
    with pytest.raises(StartError, match="no room for"):
        Metrics.share(Path("/dev/full/metrics"), 4, 8)


def test_a_row_that_is_added_is_seen_by_all_and_counts_on_for_who_has_it_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    first = Metrics.share(path, 1, 8)
    first.predicted(0.0, 0.0)
    other = Metrics.join(path, 0, 8)
    row = first.ledger.add_row()
    for version in range(2 * MODELS):  # one engine after another, each of another version
        engine = Metrics.join(path, row, 8)
        engine.set_lanes(2)
        engine.beat()
        engine.model("a", version).ran(8, 0.1)
        for metrics in (first, other):
            assert [(runs.images, runs.runs) for runs in statistics(metrics, "a", version).runs()] == [(8, 1)]
            assert metrics.beats(row) == version + 1
            assert metrics.ledger.total([OFFSETS["resnet_engine_lanes", ()]]) == [2]
        first.forget_lanes(row)
        assert other.ledger.total([OFFSETS["resnet_engine_lanes", ()]]) == [0]
    assert other.ledger.rows == 2


def test_names_are_cut_and_never_spill() -> None:
    ledger = Ledger(cells=1, names=2)
    ledger.set_name(0, 0, "ü" * 1000)
    ledger.set_name(0, 1, "next")
    assert ledger.name(0, 0) == "ü" * 144
    assert ledger.name(0, 1) == "next"
    assert ledger.total([0]).tolist() == [0.0]


def test_observing_costs_next_to_nothing() -> None:
    """A guard against a slip of orders of magnitude; docs/metrics.md has the measured cost."""
    import timeit

    metrics = Metrics()
    assert isinstance(metrics._queue, Histogram)
    requests, model = metrics.requests("/classify"), metrics.model("a", 1)
    timing = Timing(0.001, 0.002, 0.003)

    def one() -> None:
        requests.began()
        model.predicted(1, 0.001, 0.002)
        requests.ended("answered", 0.003)
        model.answered(0.003, timing, 0.0, 0.0)

    assert min(timeit.repeat(one, number=1000, repeat=20)) / 1000 < 15e-6
