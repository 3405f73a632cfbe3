"""A bar on stderr for whoever waits."""

from __future__ import annotations

from collections.abc import Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.client.answers import Outcome


@contextmanager
def bar(things: object, shown: bool) -> Iterator[Callable[[Outcome], Outcome]]:
    """Show how many of `things` are done: in the block, each one's outcome is passed through the function."""
    if not shown:
        yield lambda outcome: outcome
        return
    from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

    with tqdm(total=len(things) if isinstance(things, Sized) else None, unit="image", leave=False) as shown_bar:

        def advance(outcome: Outcome) -> Outcome:
            shown_bar.update()
            return outcome

        yield advance
