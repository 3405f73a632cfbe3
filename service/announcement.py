"""What a person reads once the service answers: what is served, where, and how to try it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from service.contract import Contract

SAMPLE = Path(__file__).parent / "web" / "sample.jpg"


def announce(contract: Contract, listeners: Sequence[socket.socket]) -> None:
    """Print where `contract`'s artefact is served: at the first of `listeners`; the second is for management."""
    url, *management = map(_url, listeners)
    sample = SAMPLE.relative_to(Path.cwd()) if SAMPLE.is_relative_to(Path.cwd()) else SAMPLE
    print(f"Serving {contract.name} (weights: {contract.weights.name}) on {url}")
    for other in management:
        print(f"Health on {other}/healthz")
    print(f"Try it:  curl --data-binary @{sample} {url}/classify", flush=True)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - only recognised here
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
