"""Fetch a file of known hash once, into the cache that PyTorch's hub uses too.

A file torch.hub or torchvision downloaded earlier is found, and one fetched here is found by them.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import torch
from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]

from models.errors import DownloadError
from models.hashing import sha256

__all__ = ["DownloadError", "cached", "download"]

MIRROR_VARIABLE = "RESNET_WEIGHTS_MIRROR"
# Connecting, and every single read: a stalled server is given up on, however long a good transfer takes.
TIMEOUT_S = 30.0


def cached(url: str) -> Path:
    """Return where the file of `url` is kept once downloaded, or can be put by hand."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def download(url: str, sha256_prefix: str, *, progress: bool = True) -> Path:
    """Return the cached file of `url`, downloading it where it is missing or damaged.

    The cache is `checkpoints` in `torch.hub.get_dir()`, which honours `TORCH_HOME`. The environment variable
    `RESNET_WEIGHTS_MIRROR`, where set, replaces all of the URL but the file's name.

    Args:
        url: http or https.
        sha256_prefix: First hexadecimal digits of the SHA-256 of the whole file.
        progress: Whether to draw a progress bar on standard error, where that is a terminal.

    Raises:
        DownloadError: no network, an HTTP error, a transfer that broke off, another hash, or no room.
    """
    target = cached(url)
    if target.is_file() and sha256(target).startswith(sha256_prefix):
        return target
    mirror = os.environ.get(MIRROR_VARIABLE)
    source = f"{mirror.rstrip('/')}/{target.name}" if mirror else url
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(source, target, sha256_prefix, progress)
    except httpx.HTTPStatusError as error:
        raise DownloadError(f"{source}: the server answered {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DownloadError(f"{source}: {error or type(error).__name__}") from error
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f"{target}: {error}") from error
    return target


def _fetch(source: str, target: Path, sha256_prefix: str, progress: bool) -> None:
    # A name of its own beside the target: two processes never write one file, and the rename is atomic.
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
    try:
        found = _stream(source, partial, progress)
        if not found.startswith(sha256_prefix):
            raise DownloadError(f"{source}: SHA-256 begins {found[: len(sha256_prefix)]}, not {sha256_prefix}")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _stream(source: str, path: Path, progress: bool) -> str:
    """Write what the server sends to a new file; return its SHA-256."""
    digest = hashlib.sha256()
    with (
        path.open("xb") as file,
        httpx.stream("GET", source, follow_redirects=True, timeout=TIMEOUT_S) as response,
    ):
        response.raise_for_status()
        total = int(response.headers.get("Content-Length", 0)) or None
        # disable=None: no bar where standard error is not a terminal.
        silent = None if progress else True
        with tqdm(total=total, desc=source.rpartition("/")[2], unit="B", unit_scale=True, disable=silent) as bar:
            for chunk in response.iter_bytes():
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
    return digest.hexdigest()
