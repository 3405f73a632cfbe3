"""Asking an artefact itself, without a service: the service's own decoder and engine, in this process."""

from __future__ import annotations

import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from service.client.answers import Classification, Outcome, Timing
from service.client.images import encoded
from service.client.progress import bar
from service.engine import open_engine
from service.errors import ServiceError, StartError, Unprocessable
from service.golden import examine
from service.image import Decoder
from service.predictions import Predictions
from service.repository import FILE_NAME, find
from service.threads import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from service.client.images import Source

_BATCH = 8  # images of one run: on the CPU larger ones gain nothing


class OfflineClient:
    """Classifies with an artefact, as a service with it would: the same classes and the same probabilities.

    Args:
        artifact: The file; or the folder that it is in, or that of its versions (then the highest), or a model
            repository of one model.
        provider: "auto" takes CUDA where it works and else the CPU; "cuda" insists.

    Raises:
        StartError: there is no such artefact, or it cannot be used.
    """

    def __init__(self, artifact: str | Path, *, provider: Literal["auto", "cuda", "cpu"] = "auto") -> None:
        path = located(Path(artifact))
        self._engine = open_engine(path, provider=provider)
        if (fault := examine(self._engine).fault) is not None:
            raise StartError(f"{path}: {fault}")
        version = path.parent.name
        self._predictions = Predictions(self._engine.contract, int(version) if version.isdecimal() else 0)
        self._decoder = Decoder(self._engine.contract.preprocessing)

    def classify(self, image: Source, *, top_k: int | None = None) -> Classification:
        """Return the most probable classes of an image; see `Client.classify`."""
        (outcome,) = self.classify_many([image], top_k=top_k)
        return outcome.unwrap()

    def classify_many(
        self, images: Iterable[Source], *, top_k: int | None = None, progress: bool = False
    ) -> Iterator[Outcome]:
        """Yield what becomes of each image, in their order; see `Client.classify_many`.

        Raises:
            Unprocessable: the network has fewer than `top_k` classes.
        """
        classes = self._predictions.classes
        if top_k is not None and not 1 <= top_k <= classes:
            raise Unprocessable(f"top_k must be a whole number from 1 to {classes}")
        waiting = iter(images)
        with bar(images, progress) as advance, ThreadPoolExecutor(available_cores(), "decode") as pool:
            while batch := list(itertools.islice(waiting, _BATCH)):
                for outcome in self._outcomes(batch, list(pool.map(self._decoded, batch)), top_k or min(5, classes)):
                    yield advance(outcome)

    def _decoded(self, image: Source) -> tuple[NDArray[np.uint8], float] | ServiceError | OSError:
        """Return the pixels and how many milliseconds they took."""
        started_s = time.perf_counter()
        try:
            return self._decoder.decode(encoded(image)), (time.perf_counter() - started_s) * 1e3
        except (ServiceError, OSError) as error:
            return error

    def _outcomes(
        self,
        images: Sequence[Source],
        decoded: Sequence[tuple[NDArray[np.uint8], float] | ServiceError | OSError],
        top_k: int,
    ) -> Iterator[Outcome]:
        pixels = [each[0] for each in decoded if isinstance(each, tuple)]
        started_s = time.perf_counter()
        rows = iter(self._engine.infer(pixels, wide=self._engine.can_widen) if pixels else ())
        inference_ms = (time.perf_counter() - started_s) * 1e3
        for image, each in zip(images, decoded, strict=True):
            if isinstance(each, Exception):
                yield Outcome(image, error=each)
                continue
            # By way of the service's JSON, so that a probability has the same digits.
            predictions = json.loads(self._predictions.to_json(next(rows), top_k))
            document = {"model": self._predictions.model, "predictions": predictions}
            yield Outcome(image, Classification.from_document(document, Timing(each[1], 0.0, inference_ms)))


def located(path: Path) -> Path:
    """Return the file that `path` means.

    Raises:
        StartError: there is none.
    """
    if path.is_file():
        return path
    if (path / FILE_NAME).is_file():
        return path / FILE_NAME
    versions = [folder for folder in path.glob(f"*/{FILE_NAME}") if folder.parent.name.isdecimal()]
    if versions:
        return max(versions, key=lambda file: int(file.parent.name))
    if not path.exists():
        raise StartError(f"there is no {path}")
    return find(path, None).path
