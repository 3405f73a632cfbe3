"""Who stands still: a process whose event loop has stopped cannot find that out by itself."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from service.watchdog import STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.cluster.arena import Board
    from service.cluster.post import Post

logger = logging.getLogger(__name__)

BEAT_S = 0.1  # how often every process says on the board that it runs


async def watch(posts: Sequence[Post], board: Board, limit_s: float) -> None:
    """Kill whoever was ready once and has not beaten for `limit_s`, so that it is replaced; never ends.

    As in `service.watchdog`, the limit is counted in steps: a machine that was suspended has no dead processes.

    Args:
        posts: In the order of their places on the board.
        board: Where they beat.
        limit_s: How long one may stand still.
    """
    seen, still = [0] * len(posts), [0] * len(posts)
    while True:
        await asyncio.sleep(limit_s / STEPS)
        for place, post in enumerate(posts):
            beats = board.beats(place)
            still[place] = still[place] + 1 if beats == seen[place] and post.is_ready else 0
            seen[place] = beats
            if still[place] == STEPS:
                logger.error("%s has stood still for %g s and is killed", post.name, limit_s)
                post.kill()
