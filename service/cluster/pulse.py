"""Who stands still: a process whose event loop has stopped cannot find that out by itself."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from service.watchdog import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.cluster.post import Post

logger = logging.getLogger(__name__)

BEAT_S = 0.1  # how often every process says in its row of the ledger that it runs


async def watch(post: Post, beats: Callable[[], float], limit_s: float) -> None:
    """Kill who fills `post` if it was ready once and has not beaten for `limit_s`, so that it is replaced; never ends.

    As in `service.watchdog`, the limit is counted in steps: a machine that was suspended has no dead processes.

    Args:
        post: Whose processes are watched.
        beats: Returns how often they have said that they run.
        limit_s: How long one may stand still.
    """
    seen, still = 0.0, 0
    while True:
        await asyncio.sleep(limit_s / STEPS)
        now = beats()
        still = still + 1 if now == seen and post.is_ready else 0
        seen = now
        if still == STEPS:
            logger.error("%s has stood still for %g s and is killed", post.name, limit_s)
            post.kill()
