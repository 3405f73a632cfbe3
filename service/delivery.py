"""The rows of one run, each to its own caller, and who gets none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from service.errors import EngineFailed, ServiceError
from service.rows import all_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from service.line import Job


class Part(NamedTuple):
    """Images `start` to `stop` of one job, as they stand in one batch."""

    job: Job
    start: int
    stop: int


def unanswered(batch: Sequence[Part], rows: NDArray[np.float32]) -> list[Part]:
    """Return the parts of `batch` whose `rows` (n, classes) are no answer: they hold what is not a finite number.

    Raises:
        ValueError: there are more or fewer rows than images, so nobody knows whose they are.
    """
    expected = sum(stop - start for _, start, stop in batch)
    if rows.ndim != 2 or len(rows) != expected:
        raise ValueError(f"the engine answered {rows.shape} for {expected} images")
    if all_finite(rows):
        return []
    ends = np.cumsum([stop - start for _, start, stop in batch])
    return [part for part, own in zip(batch, np.split(rows, ends[:-1]), strict=True) if not all_finite(own)]


def deliver(batch: Sequence[Part], rows: NDArray[np.float32], started_s: float, seconds: float) -> None:
    """Give each job in `batch` its own of `rows` (n, classes), and resolve those that are complete."""
    at = 0
    for job, start, stop in batch:
        part = rows[at : at + stop - start]
        at += stop - start
        if start == 0:
            job.started_s = started_s
        job.inference_s += seconds
        job.finished += stop - start
        if job.size == len(part):
            job.rows = part
        else:
            if job.rows is None:
                job.rows = np.empty((job.size, rows.shape[1]), dtype=rows.dtype)
            job.rows[start:stop] = part
        # A caller may have hung up, or been told of a failed part, while this part ran.
        if job.finished == job.size and not job.future.done():
            job.future.set_result(None)


def fail(job: Job, error: ServiceError) -> None:
    """Tell the caller of `job` what went wrong, unless it has been told something already."""
    if not job.future.done():
        job.future.set_exception(error)


def failure_of(error: BaseException) -> ServiceError:
    """Return what a caller is told when a run ended with `error`."""
    if isinstance(error, ServiceError):
        return error
    failure = EngineFailed("inference failed")
    failure.__cause__ = error
    return failure
