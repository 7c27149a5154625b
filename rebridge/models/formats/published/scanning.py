"""Look through files of PyTorch without building anything that they describe.

`check` refuses what would hurt a reader that runs nothing: archives that unpack to far more than themselves, places of a pickle's
memory that are out of all proportion, and tuples nested so deep that hashing one ends the process. `names_in` lists the
texts of a file as far as it goes, so that an error about a damaged one can say whose it was.
"""

from __future__ import annotations

import io
import json
import pickletools
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rebridge.models.formats.published.errors import FormatError
from rebridge.models.formats.published.inert import ZIP

MOST_NESTED = 1000
"""Greatest depth of nested values; files of training have about ten."""
LONGEST = 2_000_000
"""Greatest number of operations of a pickle; a tensor takes about thirty of them."""
SPARE_PLACES = 4096
UNPACKED, UNPACKED_SPARE = 8, 2**24
"""An archive unpacks to at most so many times its size and so many bytes; PyTorch does not compress at all."""
LONGEST_HEAD = 2**24
"""So many bytes of a file are searched for names."""
PICKLES = 5
"""Pickles at the beginning of a file in PyTorch's old layout."""
SAME = ("SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS", "BUILD")
"""Operations that fill the value before them instead of making one."""


def check(path: Path) -> None:
    """Refuse a file that would hurt its reader; FormatError, a phrase about it.

    A file that is no archive and no pickle passes: whoever reads it says so.
    """
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            for _ in range(PICKLES):
                if not _passes(file):
                    break
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > UNPACKED * path.stat().st_size + UNPACKED_SPARE:
                raise FormatError(f"is an archive that unpacks to {size / 2**30:.1f} GiB, which weights never do")
            for entry in entries:
                if entry.filename.endswith("data.pkl"):
                    _passes(io.BytesIO(archive.read(entry)))
    except FormatError:
        raise
    except Exception:  # a damaged archive can raise anything; its reader says that it is damaged
        return


def names_in(path: Path) -> list[str]:
    """Texts in a file that was meant to hold weights, as far as it can be read.

    These are names of weights among others; of a text file its words.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(LONGEST_HEAD)
    except OSError:
        return []
    if path.suffix == ".safetensors":
        return _header(head)
    if head.startswith(ZIP) and len(head) > 30:
        name_length, extra_length = struct.unpack_from("<HH", head, 26)
        return list(_texts(io.BytesIO(head[30 + name_length + extra_length :])))
    if head.startswith(b"\x80"):
        stream = io.BytesIO(head)
        return [text for _ in range(PICKLES) for text in _texts(stream)]
    return head[:65536].decode("utf-8", "replace").split()


def _header(head: bytes) -> list[str]:
    """Names in the header of safetensors, cut off or not."""
    text = head[8:].decode("utf-8", "replace")
    try:
        return list(json.JSONDecoder().raw_decode(text)[0])
    except (ValueError, RecursionError, TypeError):
        return [part for part in text.split('"') if part.isprintable()]


def _texts(stream: IO[bytes]) -> Iterator[str]:
    """Texts of a pickle up to its end or to where it cannot be read."""
    try:
        for _, value, _ in pickletools.genops(stream):
            if isinstance(value, str):
                yield value
    except Exception:  # it is cut off, or no pickle
        return


def _passes(stream: IO[bytes]) -> bool:
    """Look through one pickle; False where it cannot be read to its end.

    Raises FormatError, a phrase, for one that would hurt its reader.
    """
    stack, marks = list[int](), list[int]()
    memory: dict[int, int] = {}
    try:
        for count, (opcode, value, _) in enumerate(pickletools.genops(stream)):
            if count > LONGEST:
                raise FormatError("holds far more values than weights have: do not use this file")
            if opcode.name == "MARK":
                marks.append(len(stack))
                continue
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                place = int(value or 0)
                if not 0 <= place <= count + SPARE_PLACES:
                    raise FormatError(
                        f"asks for {value} places of memory, which weights never need: do not use this file"
                    )
                memory[place] = stack[-1]
                continue
            if opcode.name == "MEMOIZE":
                memory[len(memory)] = stack[-1]
                continue
            if opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memory.get(int(value or 0), 0))
                continue
            taken = [
                kind for kind in opcode.stack_before if kind not in (pickletools.markobject, pickletools.stackslice)
            ]
            inner: list[int] = []
            if len(taken) < len(opcode.stack_before):
                mark = marks.pop()
                inner, stack[mark:] = stack[mark:], []
            for _ in taken:
                inner.append(stack.pop())
            depth = max(inner, default=-1) + 1
            if opcode.name in SAME:
                depth = max(inner[-1], max(inner[:-1], default=-1) + 1)
            if depth > MOST_NESTED:
                raise FormatError(
                    f"nests values more than {MOST_NESTED} deep, which weights never do: do not use this file"
                )
            stack += [depth] * len(opcode.stack_after)
    except FormatError:
        raise
    except IndexError:
        raise FormatError(
            "is damaged or no file of PyTorch (its pickle takes more than it has): fetch it again"
        ) from None
    except Exception:  # it is cut off, or no pickle
        return False
    return True
