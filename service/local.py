"""The engine in this process: one service, one process, nothing to coordinate."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from service.batcher import Batcher
from service.contract import UNTRAINED
from service.cost import CostModel
from service.engine import OrtEngine
from service.golden import examine
from service.lanes import EngineLanes
from service.model import Model
from service.repository import find
from service.threads import available_cores
from service.workers import Workers

if TYPE_CHECKING:
    from service.contract import Contract
    from service.engine import Engine
    from service.lanes import Lanes
    from service.metrics import Metrics
    from service.settings import Settings

logger = logging.getLogger(__name__)


def load(settings: Settings, device_id: int | None = None) -> tuple[Engine, int]:
    """Return the engine of the artefact that `settings` name, not warmed yet, and its version.

    Args:
        settings: Of the service.
        device_id: Which of its CUDA devices; the first by default.

    Raises:
        RepositoryError: there is no such artefact.
        EngineError, ContractError: it cannot be served.
    """
    artefact = find(settings.artifacts, settings.model)
    logger.info("loading %s", artefact.path)
    engine = OrtEngine(
        artefact.path,
        provider=settings.provider,
        intra_op_num_threads=settings.intra_op_num_threads,
        device_id=settings.devices[0] if device_id is None else device_id,
    )
    return engine, artefact.version


def warmed(
    engine: Engine,
    settings: Settings,
    metrics: Metrics,
    lanes: Lanes | None = None,
    threads: Workers | None = None,
) -> Batcher:
    """Warm `engine` up and put a batcher in front of it, or in front of `lanes` that run it.

    Args:
        engine: Not warmed yet.
        settings: Of the service.
        metrics: Where its runs are counted.
        lanes: What runs the engine; threads of its own by default.
        threads: The threads of `lanes`, where they decode as well.
    """
    _warn_of_what_is_missing(engine.contract)
    seconds = engine.warm_up(settings.max_batch_size)
    metrics.set_lanes(engine.lanes)
    return Batcher(
        lanes or EngineLanes(engine, timeout_s=settings.engine_timeout_s),
        CostModel(seconds),
        # On a GPU every size is warmed that its memory has room for.
        max_batch_size=max(seconds) if engine.pipelined else settings.max_batch_size,
        queue_capacity=settings.queue_capacity,
        max_queue_delay_s=settings.max_queue_delay_ms / 1000,
        threads=threads,
        metrics=metrics,
    )


def _warn_of_what_is_missing(contract: Contract) -> None:
    if contract.weights.name == UNTRAINED:
        logger.warning("these weights are UNTRAINED: every prediction is meaningless")
    if contract.certificate is None:
        logger.warning("the artefact carries no certificate: nobody has shown that it computes what was trained")
    if not contract.golden:
        logger.warning("the artefact carries no golden image: whether it comes out right on this machine is unknown")


def build(settings: Settings, metrics: Metrics, engine: Engine | None = None) -> Model:
    """Return a model ready to answer; `engine` stands in for the artefact where it is given. Takes seconds."""
    version = 0
    if engine is None:
        engine, version = load(settings)
    result = examine(engine)
    if engine.pipelined or settings.decode_threads:
        return Model(
            engine.contract,
            version,
            engine.provider,
            warmed(engine, settings, metrics),
            settings,
            metrics,
            golden=result,
        )
    # On the CPU decoding and inference take the same cores. As many threads as cores do both: with more, runs lose
    # their core in the middle, which costs up to a tenth of the throughput (docs/performance.md).
    workers = Workers(available_cores(), "worker")
    lanes = EngineLanes(engine, workers, timeout_s=settings.engine_timeout_s)
    batcher = warmed(engine, settings, metrics, lanes, workers)
    return Model(engine.contract, version, engine.provider, batcher, settings, metrics, workers, golden=result)
