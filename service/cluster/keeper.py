"""Keeps a place filled: starts the next process when one has ended, as long as there is sense in it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from service.cluster import pulse
from service.cluster.control import Stop
from service.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.cluster.post import Post

logger = logging.getLogger(__name__)

_FALSE_STARTS = 5  # deaths of one process before it was ready, in a row, after which the place is given up
_NO_ROOM_S = 0.5  # until the next try, where the machine has no room for another process


class Keeper:
    """Fills a post, and watches who fills it.

    Args:
        post: The place.
        started: Called when a process has been started.
        ended: Called when it has ended.
        died: Called with its kind when it has ended though nobody told it to, and another is started.
        beats: Returns how often the processes of the place have said that they run.
        limit_s: How long one that was ready may stand still.

    Attributes:
        proven: Whether the place was once as it should be: from then on one who cannot start is tried again.
    """

    def __init__(
        self,
        post: Post,
        *,
        started: Callable[[], None],
        ended: Callable[[], None],
        died: Callable[[str], None],
        beats: Callable[[], float],
        limit_s: float,
    ) -> None:
        self.proven = False
        self._post = post
        self._started = started
        self._ended = ended
        self._died = died
        self._beats = beats
        self._limit_s = limit_s
        self._stopping = asyncio.Event()

    async def keep(self, received: Callable[..., None]) -> None:
        """Keep the place filled until told to stop, and until its last process has ended.

        Args:
            received: Called with what the processes say.

        Raises:
            StartError: there is no sense in starting another.
        """
        watch = asyncio.get_running_loop().create_task(pulse.watch(self._post, self._beats, self._limit_s))
        try:
            while await self._start(received):
                self._started()
                await self._post.ended()
                self._ended()
                await self._mourn()
        finally:
            watch.cancel()

    def stop(self) -> None:
        """Start no other process."""
        self._stopping.set()

    async def _start(self, received: Callable[..., None]) -> bool:
        """Start the next process, as soon as the machine has room for one; return False when stopping."""
        while not self._stopping.is_set():
            try:
                self._post.start(received)
            except OSError as error:  # no memory, descriptors or process numbers left (fork(2), pipe(2))
                if not self.proven:
                    raise StartError(f"a process could not be started: {error}") from error
                logger.error("%s cannot be started now: %s", self._post.name, error)
                await self._pause(_NO_ROOM_S)
            else:
                return True
        return False

    async def _mourn(self) -> None:
        """Say that a process died, and wait a while if that happens too often."""
        if self._stopping.is_set():
            return
        post = self._post
        if post.false_starts >= _FALSE_STARTS:
            raise StartError(f"{post.obituary}, and died {post.false_starts} times before it was ready")
        if post.gave_up and not self.proven:  # it never worked: it will not by itself
            raise StartError(f"{post.name} cannot start; its own message is above")
        self._died(post.kind)
        logger.error("%s; starting another", post.obituary)
        await self._pause(post.pause_s())

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


async def stop(posts: list[Post], within_s: float, grace_s: float = 0.0) -> None:
    """Have the processes of these places end, and kill those that have not within that time."""
    for post in posts:
        post.send(Stop(within_s))
    ended = asyncio.gather(*(post.ended() for post in posts))
    try:
        await asyncio.wait_for(ended, within_s + grace_s)
    except TimeoutError:
        logger.warning("killing what has not ended after %.1f s", within_s + grace_s)
        for post in posts:
            post.kill()
