"""Arrays in files of numpy, .npy and .npz.

They are read within limits and without running anything.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from rebridge.images.atomic import reason
from rebridge.images.regular import read_regular

ARRAY_SUFFIXES = (".npy", ".npz")
LARGEST_ARRAY = 2**30
"""Bytes of an array, in the file and unpacked: 1 GB."""


def read_array(path: str | Path, key: str | None = None) -> np.ndarray[Any, Any]:
    """Read an array of numbers.

    Args:
        path: an .npy file, or an .npz file.
        key: name of the array in an .npz file; by default its only one.

    Returns:
        The array, of a boolean, whole or floating-point type.

    Raises:
        ValueError: one sentence that begins with the file: no such file or array, damaged, larger than memory allows, or of
            something else than numbers.
    """
    path = Path(path)
    try:
        data, _ = read_regular(path, LARGEST_ARRAY, "an array file")
        array = _unpacked(data, key) if data.startswith(b"PK") else _plain(data)
    except (OSError, ValueError) as error:
        text = reason(error)
        raise ValueError(
            f"{path} {text}" if text.startswith("is ") else f"{path}: cannot be read as an array: {text}"
        ) from None
    except Exception as error:  # zipfile, zlib and numpy's parser of headers have errors of their own
        raise ValueError(f"{path}: cannot be read as an array: {reason(error)}") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path}: an array must hold numbers, got {str(array.dtype)[:60]}")
    return array


def _plain(data: bytes) -> np.ndarray[Any, Any]:
    """The array of an .npy file; its header may not promise more than there is."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"it has version {version[0]}.{version[1]} of the format, 1.0 to 3.0 are known")
    # the parser of version 2 reads that of 3 too; the header is evaluated as literals only
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not loaded")
    promised = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    if promised != len(data) - stream.tell():
        raise ValueError(
            f"its header promises {promised:,} bytes of numbers, and {len(data) - stream.tell():,} are there"
        )
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _unpacked(data: bytes, key: str | None) -> np.ndarray[Any, Any]:
    """An array of an .npz file."""
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = {name.removesuffix(".npy"): name for name in archive.namelist()}
        wanted = next(iter(names)) if key is None and len(names) == 1 else key
        if wanted not in names:
            listed = ", ".join(list(names)[:10]) or "nothing"
            raise ValueError(f"it holds no array {wanted or 'alone'}; it has {listed}")
        entry = archive.getinfo(names[wanted])
        if entry.file_size > LARGEST_ARRAY:
            raise ValueError(f"its {entry.file_size:,} bytes are more than any array within the limits needs")
        with archive.open(entry) as stream:
            return _plain(stream.read(LARGEST_ARRAY + 1))
