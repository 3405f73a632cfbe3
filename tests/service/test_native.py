"""service.native: a library that is missing, or older than the code, is a matter of installing; where arrays are."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from service.native import address, load


def test_a_library_that_was_never_compiled_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"nowhere\.so\.1 cannot be loaded .*: install it again"):
        load(ctypes.CDLL, tmp_path / "nowhere.so.1")


def test_so_does_one_without_what_is_asked_of_it() -> None:
    with pytest.raises(ImportError, match=r"of_a_later_version.*install it again"):
        load(ctypes.PyDLL, of_a_later_version=(ctypes.c_int64,))


def test_an_array_is_where_its_first_element_is_whatever_may_be_done_with_it() -> None:
    whole = np.arange(24, dtype=np.uint8).reshape(4, 6)
    constant = whole.copy()
    constant.flags.writeable = False
    for array in (whole, whole[1:], whole[:, 2:], whole[::-1], whole[:0], constant, constant[2:]):
        assert address(array) == array.ctypes.data
