from __future__ import annotations

import pytest

from tests.conftest import missing


@pytest.fixture(scope="session")
def nvimgcodec() -> None:
    """The real nvImageCodec, which decodes on the CPU as well."""
    try:
        import nvidia.nvimgcodec  # noqa: F401
    except ImportError as error:
        missing(f"nvidia-nvimgcodec-cu13 is not here: {error}")
