"""A reader of PyTorch files that runs nothing which they ask for.

Lightning and training scripts pickle callbacks, options and numpy scalars beside the weights, so `torch.load(weights_only=True)`
refuses them. Here every name outside a short list becomes an inert stand-in, an object that takes anything and does nothing, and
the tensors are rebuilt as views of the file, which is mapped into memory.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from rebridge.models.formats.published.errors import FormatError

STORAGES: dict[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
DANGEROUS = (
    "os",
    "posix",
    "nt",
    "sys",
    "subprocess",
    "commands",  # subprocess in pickles for Python 2
    "multiprocessing",
    "code",
    "marshal",
    "pydoc",
    "timeit",
    "shutil",
    "socket",
    "runpy",
    "importlib",
    "ctypes",
    "pty",
    "webbrowser",
)
DANGEROUS_BUILTINS = ("eval", "exec", "execfile", "compile", "open", "input", "__import__")
BUILTINS = ("builtins", "__builtin__", "io", "_io")
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
ZIP = b"PK\x03\x04"
"""Beginning of an archive."""


class Inert:
    """Stand-in that takes any arguments, state and items, and keeps none."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        return Inert()

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __hash__(self) -> int:
        return id(self)

    def append(self, item: Any) -> None:
        """Take an item of a list and forget it."""

    def extend(self, items: Any) -> None:
        """Take items of a list and forget them."""

    def add(self, item: Any) -> None:
        """Take an item of a set and forget it."""


def _tensor(flat: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
    """A view of a flat storage; RuntimeError where it does not lie inside."""
    return flat.as_strided(tuple(size), tuple(stride), offset)


def _parameter(data: Tensor, *rest: Any) -> Tensor:
    return data


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "tuple"): tuple,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.nn.parameter", "Parameter"): _parameter,
}


class InertUnpickler(pickle.Unpickler):
    """Unpickler that knows tensors and containers and replaces the rest by `Inert`.

    It refuses what could harm.

    Args:
        file: The pickle.
        storage: Called with (key, dtype, count), returns a flat tensor that holds or will hold the storage.
    """

    def __init__(self, file: IO[bytes], storage: Callable[[str, torch.dtype, int], Tensor]) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Return the class of that name if it is on the list, else a stand-in.

        Raises FormatError for one that could harm.
        """
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        top = module.split(".")[0]
        if top in DANGEROUS or (top in BUILTINS and name in DANGEROUS_BUILTINS):
            raise FormatError(f"asks to run {module}.{name}, which weights never need: do not use this file")
        return Inert

    def persistent_load(self, pid: Any) -> Any:
        """The storage that a tensor refers to."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], torch.dtype):
            raise pickle.UnpicklingError("a reference to something else than a storage")
        return self._storage(str(pid[2]), pid[1], int(pid[4]))


def load(path: Path) -> Any:
    """Read a file of torch.save, new or old layout, without running what it names.

    Raises:
        FormatError: If the file asks for something that could harm, or is not in either layout.
    """
    try:
        if zipfile.is_zipfile(path):
            return _load_zip(path)
        with open(path, "rb") as file:
            if file.read(len(ZIP)) == ZIP:
                raise FormatError("is damaged, the end of the archive is missing: fetch it again")
        return _load_legacy(path)
    except FormatError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise FormatError(f"is damaged or not a file of PyTorch ({first_line(error)}): fetch it again") from None


def _load_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
        if not pickles:
            raise FormatError("is an archive without weights: it has no data.pkl")
        root = pickles[0][: -len("data.pkl")]
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        known: dict[str, Tensor] = {}

        def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
            if key not in known:
                info = archive.getinfo(f"{root}data/{key}")
                known[key] = _view(archive, info, mapped, dtype, count)
            return known[key]

        with archive.open(pickles[0]) as stream:
            return InertUnpickler(stream, storage).load()


def _view(archive: zipfile.ZipFile, info: zipfile.ZipInfo, mapped: mmap.mmap, dtype: torch.dtype, count: int) -> Tensor:
    """View an entry of the archive as a flat tensor; a copy if it is compressed."""
    if count == 0:
        return torch.empty(0, dtype=dtype)
    if info.compress_type != zipfile.ZIP_STORED:
        return torch.frombuffer(bytearray(archive.read(info)), dtype=dtype, count=count)
    name_length, extra_length = struct.unpack_from("<HH", mapped, info.header_offset + 26)
    begin = info.header_offset + 30 + name_length + extra_length
    if info.file_size < count * dtype.itemsize or begin + info.file_size > len(mapped):
        raise pickle.UnpicklingError(f"{info.filename} is too short")
    return torch.frombuffer(mapped, dtype=dtype, count=count, offset=begin)


def _load_legacy(path: Path) -> Any:
    known: dict[str, Tensor] = {}
    size = path.stat().st_size

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        if key not in known:
            if not 0 <= count * dtype.itemsize <= size:
                raise pickle.UnpicklingError("a storage longer than the file")
            known[key] = torch.empty(count, dtype=dtype)
        return known[key]

    with open(path, "rb") as file:
        if InertUnpickler(file, storage).load() != LEGACY_MAGIC:
            raise FormatError("is not a file of PyTorch")
        for _ in range(2):  # the version of the layout, what the machine was
            InertUnpickler(file, storage).load()
        content = InertUnpickler(file, storage).load()
        for key in InertUnpickler(file, storage).load():
            flat = known[str(key)]
            (count,) = struct.unpack("<q", file.read(8))
            data = file.read(count * flat.dtype.itemsize)
            if count != flat.numel() or len(data) != count * flat.dtype.itemsize:
                raise EOFError("the file ends inside its weights")
            if count:
                flat.copy_(torch.frombuffer(bytearray(data), dtype=flat.dtype))
    return content


def first_line(error: BaseException) -> str:
    """Shorten an error's text to its first line."""
    return (str(error) or type(error).__name__).splitlines()[0][:120]
