"""Who decides what is served: this process's own loader, or, with several processes, the supervisor's.

Two implementations: `service.loader.Loader`, and `service.cluster.follower` for one in another process. The API cannot
tell them apart.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class State(NamedTuple):
    """One version in the repository: READY, LOADING or UNAVAILABLE, as Triton says it, and why."""

    name: str
    version: int
    state: str
    reason: str = ""


class Supply(Protocol):
    """Keeps a registry as it is wanted."""

    async def start(self) -> None:
        """Return once everything is in service that the settings want, also what does not come out right here.

        Raises:
            StartError: some of it cannot be served.
        """

    async def watch(self) -> None:
        """From now on bring into service what is new, if the settings want that."""

    async def load(self, name: str) -> None:
        """Serve `name`: its highest version, or what was unloaded of it; where it is served, what is new of it.

        Once this has returned, whichever process is asked answers so.

        Raises:
            NotFound: the repository has no such model.
            Unprocessable: it cannot be served. What was served still is.
        """

    async def unload(self, name: str) -> None:
        """Serve `name` no longer; who has asked it something is still answered.

        Raises:
            NotFound: it is not served.
            BadRequest: it is the default.
        """

    async def states(self) -> list[State]:
        """Return the state of everything in the repository."""

    async def close(self) -> None:
        """Answer what is in line, then let go of everything."""
