"""API keys: who may ask. They stand in a file, which may be changed while the service runs."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from typing import TYPE_CHECKING

from service.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0  # how soon a changed file is noticed
_MIN_LENGTH = 16  # characters; `openssl rand -hex 16` makes 32


class Keys:
    """The keys in a file, one a line; empty lines and lines that begin with # are none.

    Kept as SHA-256 digests: all of a length, whatever the key's. A file that cannot be used any more, or has no key in
    it, is complained of in the log, and the keys from before stay valid.

    Args:
        path: The file.
        clock: Monotonic seconds.

    Raises:
        StartError: there is no such file, no key in it, or one that is too short or has odd characters in it.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._look_s = clock() + _LOOK_EVERY_S
        self._stamp = self._stamped()
        self._digests = _read(path)

    def admit(self, key: bytes) -> bool:
        """Whether `key` is one of them; takes as long for a wrong key as for a right one."""
        if self._clock() >= self._look_s:
            self._look()
        digest = hashlib.sha256(key).digest()
        found = False
        for known in self._digests:  # every one: at which a loop ends would show in the time
            found |= hmac.compare_digest(known, digest)
        return found

    def _look(self) -> None:
        self._look_s = self._clock() + _LOOK_EVERY_S
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._digests = _read(self._path)
        except StartError as error:
            logger.error("the API keys from before stay valid: %s", error)
        else:
            logger.info("%s was changed: %d API keys are valid now", self._path, len(self._digests))

    def _stamped(self) -> tuple[int, ...] | None:
        """Return what changes with the file, also where a mounted secret is replaced by way of a symbolic link."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 - half the time of Path's, and callers wait
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


def _read(path: Path) -> tuple[bytes, ...]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise StartError(f"the file of API keys, {path}, cannot be read: {error.strerror or error}") from error
    digests = []
    for number, line in enumerate(lines, 1):
        key = line.strip()
        if not key or key.startswith(b"#"):
            continue
        if len(key) < _MIN_LENGTH or not all(0x21 <= byte <= 0x7E for byte in key):
            # What it is instead is for nobody's log.
            raise StartError(
                f"{path}, line {number}: a key has at least {_MIN_LENGTH} characters, letters, digits and signs"
            )
        digests.append(hashlib.sha256(key).digest())
    if not digests:
        raise StartError(f"the file of API keys, {path}, has none in it")
    return tuple(digests)
