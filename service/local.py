"""The engine in this process: one service, one process, nothing to coordinate."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from service import seal
from service.batcher import Batcher
from service.card.model import CardModel
from service.card.setup import decoding
from service.contract import UNTRAINED
from service.cost import CostModel
from service.engine import Tuning, open_engine
from service.golden import examine
from service.lanes import EngineLanes
from service.model import Model
from service.threads import available_cores
from service.workers import Workers

if TYPE_CHECKING:
    from service.backend import Backend
    from service.contract import Contract
    from service.engine import Engine
    from service.lanes import Lanes
    from service.metrics import Metrics
    from service.repository import Artefact
    from service.settings import Settings
    from service.statistics import ModelCounts
    from service.tracing import Tracer

logger = logging.getLogger(__name__)


def load(artefact: Artefact, settings: Settings, device_id: int | None = None) -> Engine:
    """Return the engine of `artefact`, not warmed yet.

    Args:
        artefact: Of the model repository.
        settings: Of the service.
        device_id: Which of its CUDA devices; the first by default.

    Raises:
        Damaged, EngineError, ContractError: it cannot be served.
    """
    logger.info("loading %s", artefact.path.resolve())
    if not seal.check(artefact.path):
        logger.warning("the artefact carries no checksum: whether it is what was exported is unknown")
    engine = open_engine(
        artefact.path,
        provider=settings.provider,
        intra_op_num_threads=settings.intra_op_num_threads,
        device_id=settings.devices[0] if device_id is None else device_id,
        max_batch_size=settings.max_batch_size,
        tuning=_tuning(settings),
    )
    # A model goes by the name of its folder, as everywhere in the field, also where that was renamed after the export.
    engine.contract = engine.contract.model_copy(update={"name": artefact.name})
    return engine


def _tuning(settings: Settings) -> Tuning:
    # While a graph is captured nothing else in the process may use the card (CUDA C++ Programming Guide, Prohibited
    # and Unhandled Operations): here another model may.
    graphs = {"auto": None, "on": True, "off": False}[settings.cuda_graphs] if settings.frontends else False
    options = dict(option.split("=") for option in settings.cuda_options)
    return Tuning(settings.cuda_memory_mib, graphs, options, settings.tensorrt_cache)


def warmed(
    engine: Engine,
    settings: Settings,
    counts: ModelCounts,
    tracer: Tracer | None,
    lanes: Lanes,
    threads: Workers | None = None,
) -> Batcher:
    """Warm `engine` up and put a batcher in front of the `lanes` that run it.

    Args:
        engine: Not warmed yet.
        settings: Of the service.
        counts: Where its runs are counted.
        tracer: What traces them, if anything does.
        lanes: What runs the engine.
        threads: The threads of `lanes`, where they decode as well.
    """
    _warn_of_what_is_missing(engine.contract)
    seconds = engine.warm_up(settings.max_batch_size)
    return Batcher(
        lanes,
        CostModel(seconds),
        # On a GPU every size is warmed that its memory has room for.
        max_batch_size=max(seconds) if engine.pipelined else settings.max_batch_size,
        queue_capacity=settings.queue_capacity,
        max_queue_delay_s=settings.max_queue_delay_ms / 1000,
        threads=threads,
        counts=counts,
        tracer=tracer,
    )


def _warn_of_what_is_missing(contract: Contract) -> None:
    if contract.weights.name == UNTRAINED:
        logger.warning("these weights are UNTRAINED: every prediction is meaningless")
    if contract.certificate is None:
        logger.warning("the artefact carries no certificate: nobody has shown that it computes what was trained")
    if not contract.golden:
        logger.warning("the artefact carries no golden image: whether it comes out right on this machine is unknown")


class Builder:
    """Makes models that do their work in this process; see `service.loader.Builder`.

    All models share the threads. On the CPU decoding and inference take the same cores, so as many threads as cores do
    both, for all models together: with more, runs lose their core in the middle, which costs up to a tenth of the
    throughput (docs/performance.md).

    Args:
        settings: Of the service.
        metrics: Where everything is counted.
        engine: Stands in for the artefacts, where it is given.
        tracer: What traces runs, if anything does.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, engine: Engine | None = None, tracer: Tracer | None = None
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._engine = engine
        self._tracer = tracer
        self._workers = Workers(settings.decode_threads or available_cores(), "worker")

    async def build(self, artefact: Artefact) -> Model:
        """Return a model ready to answer. Takes seconds, on a thread."""
        return await asyncio.to_thread(self._built, artefact)

    def _built(self, artefact: Artefact) -> Model:
        engine = self._engine or load(artefact, self._settings)
        golden = examine(engine)
        shared = None if engine.pipelined or self._settings.decode_threads else self._workers
        lanes = EngineLanes(engine, shared, timeout_s=self._settings.engine_timeout_s)
        counts = self._metrics.model(engine.contract.name, artefact.version)
        batcher = warmed(engine, self._settings, counts, self._tracer, lanes, shared)
        backend: Backend = batcher
        if self._settings.decoder == "gpu":
            backend = decoding(batcher, engine, self._settings)
        kind = CardModel if self._settings.decoder == "gpu" else Model
        return kind(
            engine.contract,
            artefact.version,
            engine.provider,
            backend,
            self._settings,
            counts,
            self._workers,
            golden=golden,
            release=partial(self._release, lanes, counts, self._count(lanes, shared)),
        )

    def close(self) -> None:
        """End the threads."""
        self._workers.close()

    def _count(self, lanes: EngineLanes, shared: Workers | None) -> int:
        """Say how many runs can be done now; return how many fewer it will be without `lanes`."""
        if shared is not None:  # whichever model's
            self._metrics.set_lanes(lanes.count)
            return 0
        self._metrics.add_lanes(lanes.count)
        return lanes.count

    def _release(self, lanes: EngineLanes, counts: ModelCounts, fewer: int) -> None:
        lanes.close()
        counts.close()
        self._metrics.add_lanes(-fewer)
