"""What can go wrong on the way to a trained network.

    OSError
    └── DownloadError      the published file cannot be had, or is not the one that was published
    ValueError
    └── CheckpointError    the file holds no network that this package knows, or not the one asked for

A misspelt argument is a plain `ValueError`.
"""

from __future__ import annotations


class DownloadError(OSError):
    """A file could not be downloaded, or is not the one that was published."""


class CheckpointError(ValueError):
    """A file cannot be read as the weights of a known network; the message says what was found instead."""
