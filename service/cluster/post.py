"""A place in the service that one process after another fills, and how patient to be with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from service.cluster.child import Child

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.cluster.control import Message
    from service.settings import Settings

_SETTLED_S = 10.0  # whoever lives that long did not die of being started
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


class Post:
    """Fills its place anew each time `start` is called.

    Args:
        name: Of its processes, in logs.
        module: Whose `run` they call, with `settings`, `arguments`, the generation and the pipe.
        settings: Of the service.
        arguments: What tells this post from others.

    Attributes:
        generation: The how-manyth process this one is, from 0.
        false_starts: How many in a row died before they were ready.
    """

    def __init__(self, name: str, module: str, settings: Settings, arguments: tuple[Any, ...]) -> None:
        self.name = name
        self.generation = -1
        self.false_starts = 0
        self._early_deaths = 0
        self._module = module
        self._settings = settings
        self._arguments = arguments
        self._child: Child | None = None

    def start(self, received: Callable[[Message], None]) -> None:
        """Start the next process; `received` is called with what it says."""
        self.generation += 1
        arguments = (*self._arguments, self.generation)
        self._child = Child(self.name, self._module, arguments, self._settings, received)
        self.false_starts += 1  # until it is ready

    def ready(self) -> None:
        """Note that the process does what it is for."""
        self.false_starts = 0

    def send(self, message: Message) -> None:
        """Tell the process, if there is one."""
        if self._child is not None:
            self._child.control.send(message)

    async def ended(self) -> None:
        """Wait until there is no process."""
        if self._child is not None:
            await asyncio.shield(self._child.ended)

    def kill(self) -> None:
        """End the process at once, if there is one."""
        if self._child is not None:
            self._child.kill()

    @property
    def lives(self) -> bool:
        """Whether there is a process."""
        return self._child is not None and not self._child.ended.done()

    @property
    def kind(self) -> str:
        """What its processes are: `engine` or `frontend`."""
        return self.name.partition("-")[0]

    @property
    def is_ready(self) -> bool:
        """Whether the process does what it is for."""
        return self.false_starts == 0

    @property
    def gave_up(self) -> bool:
        """Whether the last process could not start and said so, rather than being killed."""
        return self._child is not None and self.false_starts > 0 and self._child.gave_up

    @property
    def obituary(self) -> str:
        """How the last process ended, in words."""
        assert self._child is not None  # noqa: S101 - only of those who lived
        return f"{self.name} (process {self._child.pid}) {self._child.fate} after {self._child.age_s:.1f} s"

    def pause_s(self) -> float:
        """Count a death; return how long to wait before the next start: not at all, unless several died young."""
        assert self._child is not None  # noqa: S101 - only after one
        self._early_deaths = self._early_deaths + 1 if self._child.age_s < _SETTLED_S else 0
        if self._early_deaths < 2:
            return 0.0
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._early_deaths - 2, 16))
