"""What is counted, by one process and by several: exactly, in bounded memory, and past any process's death."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from service import errors
from service.errors import ServiceError, StartError
from service.families import CELLS, COUNTED, FAMILIES, MODELS, OFFSETS, OUTCOMES, PREDICTIONS_AT
from service.ledger import Ledger
from service.metrics import Histogram, Metrics


def count(metrics: Metrics, name: str, *labels: str) -> float:
    return float(metrics.ledger.total()[OFFSETS[name, labels]])


def test_a_value_is_counted_in_the_first_bucket_whose_bound_is_not_below_it() -> None:
    metrics = Metrics()
    family = next(family for family in COUNTED if family.name == "resnet_batch_images")
    for images in (1, 2, 3, 4, 5000):
        metrics.ran(images, 0.1)
    at = OFFSETS[family.name, ()]
    cells = metrics.ledger.total()[at : at + family.cells].tolist()
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
    assert sorted([*taken, *range(PREDICTIONS_AT, CELLS)]) == list(range(CELLS))
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


def test_models_beyond_the_bound_are_counted_as_one() -> None:
    metrics = Metrics()
    numbers = [metrics.model(f"model-{number}", "1") for number in range(MODELS + 5)]
    assert numbers == [*range(MODELS), *[MODELS] * 5]
    assert metrics.model("model-3", "1") == 3, "asked again"


def _count_and_die(path: Path, row: int) -> None:
    metrics = Metrics.join(path, row)
    requests = metrics.requests("/classify")
    for _ in range(1000):
        requests.began()
        requests.ended("answered", 0.001)
    requests.began()  # and never ends
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_that_are_killed_and_replaced_lose_no_count(tmp_path: Path) -> None:
    """Three places, the second of which is filled three times over."""
    metrics = Metrics.share(tmp_path / "metrics", 4)
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
    Metrics.join(tmp_path / "metrics", 2)
    assert count(metrics, "resnet_requests_in_flight") == 2, "a successor has nothing in flight"


def test_without_room_it_does_not_start() -> None:
    with pytest.raises(StartError, match="no room for"):
        Metrics.share(Path("/dev/full/metrics"), 4)


def test_names_are_cut_and_never_spill() -> None:
    ledger = Ledger(cells=1, names=2)
    ledger.set_name(0, 0, "ü" * 1000)
    ledger.set_name(0, 1, "next")
    assert ledger.name(0, 0) == "ü" * 128
    assert ledger.name(0, 1) == "next"
    assert ledger.total().tolist() == [0.0]


def test_observing_costs_next_to_nothing() -> None:
    """A guard against a slip of orders of magnitude; docs/metrics.md has the measured cost."""
    import timeit

    metrics = Metrics()
    assert isinstance(metrics._queue, Histogram)
    requests, model = metrics.requests("/classify"), metrics.model("a", "1")

    def one() -> None:
        requests.began()
        metrics.predicted(model, 1, 0.001, 0.002)
        requests.ended("answered", 0.003)

    assert min(timeit.repeat(one, number=1000, repeat=20)) / 1000 < 15e-6
