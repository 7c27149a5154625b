"""Memory that was freed, but that the C library keeps."""

import ctypes
import sys


def give_back() -> None:
    """Give memory that was freed back to the system, where its library keeps it.

    Large pictures leave holes between smaller pieces that stay, which nothing else fills.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):  # of glibc
            library.malloc_trim(0)
