"""The few facts that decoding needs from a TIFF directory: of TIFF files, and of Exif, which has the same form.

Pillow's reader loads the data of every entry and warns of each odd one; a hostile directory has 65,535 of them.
"""

from __future__ import annotations

import struct

from service.resample import ORIENTATIONS, UPRIGHT, Orientation

TILE_WIDTH = 322
TILE_LENGTH = 323

_ORIENTATION = 274
_SHORT, _LONG = 3, 4
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_MAX_ENTRIES = 1024  # real directories have some tens


def read_directory(data: bytes) -> dict[int, int]:
    """Read the single whole numbers of the first directory (TIFF 6.0, section 2).

    Args:
        data: A TIFF file, or the payload of an Exif block after its "Exif" header.

    Returns:
        Value by tag. Entries of other types, and of several values, are left out.

    Raises:
        ValueError: it is no TIFF, it is cut off, or it has more entries than any real one.
    """
    order = _BYTE_ORDERS.get(data[:4])
    if order is None:
        raise ValueError("not a TIFF header")
    try:
        (offset,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, offset)
        if entries > _MAX_ENTRIES:
            raise ValueError(f"a directory of {entries} entries")
        directory = {}
        for index in range(entries):
            tag, kind, count = struct.unpack_from(order + "HHI", data, offset + 2 + 12 * index)
            if count == 1 and kind in (_SHORT, _LONG):
                form = order + ("H" if kind == _SHORT else "I")
                (directory[tag],) = struct.unpack_from(form, data, offset + 10 + 12 * index)
    except struct.error as error:
        raise ValueError("the directory is cut off") from error
    return directory


def read_orientation(block: bytes) -> Orientation:
    """Return the orientation that an Exif block asks for: upright where it says nothing that can be understood."""
    try:
        directory = read_directory(block.removeprefix(b"Exif\0\0"))
    except ValueError:
        return UPRIGHT
    return ORIENTATIONS.get(directory.get(_ORIENTATION, 1), UPRIGHT)
