"""Memory of mapped files that is given back while weights are converted."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys

from torch import Tensor

_PAGE_OUT = 21
"""MADV_PAGEOUT of Linux: pages of a file are dropped and read again when needed; other memory stays as it is."""


def page_out(value: Tensor) -> None:
    """Let the system drop the pages of a file behind a tensor.

    The tensor stays valid. Does nothing where the system has no such call.
    """
    if not sys.platform.startswith("linux") or value.is_meta:
        return
    begin = value.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    length = value.data_ptr() + value.numel() * value.element_size() - begin
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), _PAGE_OUT)
