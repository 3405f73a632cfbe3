"""What is written in C, `resample.c` and `rows.c`: one library, compiled when the project is installed.

`hatch_build.py` compiles it. Functions are called by ctypes, with the interpreter lock or without it.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = TypeVar("Kind", bound=ctypes.CDLL)

LIBRARY = Path(__file__).with_name("libnative.so.1")

_NOTHING = ctypes.c_char * 0


def load(kind: type[Kind], path: Path = LIBRARY, **functions: tuple[Any, ...]) -> Kind:
    """Return the library.

    Args:
        kind: `ctypes.CDLL`, whose calls give the interpreter lock up, or `ctypes.PyDLL`, whose calls keep it.
        path: Where it is.
        functions: What the functions that will be called take, as ctypes says it.

    Raises:
        ImportError: it is not there, or is an older one.
    """
    try:
        library = kind(str(path))
        for name, arguments in functions.items():
            getattr(library, name).argtypes = arguments
    except (OSError, AttributeError) as error:
        reason = "installing the project compiles it: install it again"
        raise ImportError(f"{path} cannot be loaded ({error}); {reason}", path=str(path)) from error
    return library


def address(array: NDArray[Any]) -> int:
    """Return where the first element of `array` is in memory."""
    flags = array.flags
    if flags.writeable and flags.c_contiguous:  # a third of the time
        return ctypes.addressof(_NOTHING.from_buffer(array))  # type: ignore[arg-type]
    found: int = array.__array_interface__["data"][0]
    return found
