"""`GET /metrics`: what is counted and how the service is, in Prometheus's text format."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, cast

from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.responses import PlainTextResponse, Response

from service import families
from service.families import CELLS, COUNTED, MODELS, OFFSETS, PREDICTIONS
from service.lifecycle import Phase
from service.statistics import OTHER, Total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from service.families import Family
    from service.lifecycle import Lifecycle
    from service.metrics import Metrics
    from service.model import Model
    from service.settings import Settings


_KINDS: dict[str, Callable[..., Metric]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def router(settings: Settings, lifecycle: Lifecycle, metrics: Metrics) -> APIRouter:
    """Return the route; whichever process it is in, it answers for all of them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(settings, lifecycle, metrics))
    router = APIRouter(tags=["operation"])

    # On the event loop, where it takes a millisecond and waits for no thread and no place in line.
    async def show() -> Response:
        return Response(
            generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"}
        )

    router.add_api_route("/metrics", show, summary="Metrics for Prometheus", response_class=PlainTextResponse)
    return router


class _Collector:
    """Gives prometheus-client every family of `service.families` with its present values."""

    def __init__(self, settings: Settings, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._settings = settings
        self._lifecycle = lifecycle
        self._ledger = metrics.ledger
        self._layout = metrics.layout

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        total = self._ledger.total(slice(CELLS)).tolist()
        for family in COUNTED:
            metric = _metric(family)
            for labels in family.series:
                at = OFFSETS[family.name, labels]
                _add(metric, labels, family, total[at : at + family.cells])
            yield metric
        yield self._predictions()
        yield from self._read()

    def _predictions(self) -> Metric:
        """Add up by name: each process has numbered the models as they came to it."""
        counts: dict[tuple[str, ...], float] = {}
        images = [self._layout.block(column).start + Total.IMAGES for column in range(MODELS + 1)]
        for row, of_row in enumerate(self._ledger.table()[:, images].tolist()):
            for column, count in enumerate(of_row):
                name = "other\nother" if column == OTHER else self._ledger.name(row, column)
                if name and (count or column != OTHER):
                    labels = tuple(name.split("\n", 1))
                    counts[labels] = counts.get(labels, 0.0) + count
        metric = _metric(PREDICTIONS)
        for labels, count in counts.items():
            _add(metric, labels, PREDICTIONS, [count])
        return metric

    def _read(self) -> Iterator[Metric]:
        models = self._lifecycle.registry.models
        yield _gauge(families.CAPACITY, {(): self._settings.queue_capacity * max(1, len(models))})  # a line for each
        yield _gauge(families.LARGEST_BATCH, {(): self._settings.max_batch_size})
        yield _gauge(families.READY, {(): int(self._lifecycle.status is Phase.READY)})
        yield _gauge(families.DEPTH, {(): sum(model.backend.depth for model in models)})
        yield _gauge(families.MODEL, {_info(model): 1 for model in models})
        slots = [each for model in models if (each := model.backend.occupancy) is not None]
        if slots:
            used = sum(each.used for each in slots)
            yield _gauge(families.SLOTS, {("used",): used, ("free",): sum(each.total for each in slots) - used})


def _info(model: Model) -> tuple[str, ...]:
    what = model.predictions.model
    return what["name"], what["version"], what["precision"], what["weights"], model.provider


def _gauge(family: Family, values: dict[tuple[str, ...], float]) -> Metric:
    metric = _metric(family)
    for labels, value in values.items():
        _add(metric, labels, family, [value])
    return metric


def _metric(family: Family) -> Metric:
    return _KINDS[family.kind](family.name.removesuffix("_total"), family.help, labels=family.labels)


def _add(metric: Metric, labels: tuple[str, ...], family: Family, cells: Sequence[float]) -> None:
    if not family.bounds:
        cast(GaugeMetricFamily | CounterMetricFamily, metric).add_metric(labels, cells[0])
        return
    upper = [*map(str, family.bounds), "+Inf"]
    buckets = list(zip(upper, accumulate(cells[:-1]), strict=True))
    cast(HistogramMetricFamily, metric).add_metric(labels, buckets, sum_value=cells[-1])
