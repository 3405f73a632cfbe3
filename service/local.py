"""The engine in this process: one service, one process, nothing to coordinate."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from service.batcher import Batcher
from service.contract import UNTRAINED
from service.cost import CostModel
from service.engine import OrtEngine
from service.lanes import EngineLanes
from service.model import Model
from service.repository import find

if TYPE_CHECKING:
    from service.engine import Engine
    from service.settings import Settings

logger = logging.getLogger(__name__)


def load(settings: Settings) -> tuple[Engine, int]:
    """Return the engine of the artefact that `settings` name, not warmed yet, and its version.

    Raises:
        RepositoryError: there is no such artefact.
        EngineError, ContractError: it cannot be served.
    """
    artefact = find(settings.artifacts, settings.model)
    logger.info("loading %s", artefact.path)
    engine = OrtEngine(artefact.path, provider=settings.provider, intra_op_num_threads=settings.intra_op_num_threads)
    return engine, artefact.version


def warmed(engine: Engine, settings: Settings) -> Batcher:
    """Warm `engine` up and put a batcher in front of it."""
    if engine.contract.weights.name == UNTRAINED:
        logger.warning("these weights are UNTRAINED: every prediction is meaningless")
    costs = CostModel(engine.warm_up(settings.max_batch_size))
    return Batcher(
        EngineLanes(engine),
        costs,
        max_batch_size=settings.max_batch_size,
        queue_capacity=settings.queue_capacity,
        max_queue_delay_s=settings.max_queue_delay_ms / 1000,
    )


def build(settings: Settings, engine: Engine | None = None) -> Model:
    """Return a model ready to answer; `engine` stands in for the artefact where it is given. Takes seconds."""
    version = 0
    if engine is None:
        engine, version = load(settings)
    return Model(engine.contract, version, engine.provider, warmed(engine, settings), settings)
