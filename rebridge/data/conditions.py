"""Extra conditions from files: a folder for each, a file for each picture.

Maps are pictures or arrays (.npy) of the picture's size, kernels small ones; numbers, classes and vectors are arrays or texts
(.txt) of numbers. A file belongs to the picture whose name it has, with or without the folders that the picture lies in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rebridge.data.folders import IMAGE_SUFFIXES, as_float, read_stored
from rebridge.images.npy import read_array
from rebridge.images.regular import read_regular
from rebridge.networks.conditions import Condition

TEXT_SUFFIX = ".txt"
LONGEST_TEXT = 2**20
"""Bytes of a file of numbers."""


class ConditionFiles:
    """The extra conditions of pictures, in files.

    Args:
        folders: of each condition.
        declared: what they are.
        pictures: paths of the pictures whose conditions are wanted.

    Raises:
        ValueError: a folder that is none, or a picture without a file in it; names both.
    """

    def __init__(
        self, folders: Mapping[str, Path], declared: Mapping[str, Condition], pictures: Sequence[Path]
    ) -> None:
        self.declared = {name: declared[name] for name in folders}
        self.files = {name: _matched(name, folder, pictures) for name, folder in folders.items()}

    def read(
        self,
        index: int,
        size: tuple[int, int],
        cut: Callable[[Tensor], Tensor],
        turn: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        """Read the conditions of picture number `index`.

        Args:
            index: of the picture.
            size: its (height, width), which maps must have.
            cut: what becomes of pictures, and of maps with them.
            turn: the symmetry in it, for kernels.

        Raises:
            ValueError: a file that cannot be read, or does not fit; names it.
        """
        found = {}
        for name, one in self.declared.items():
            value = read_condition(self.files[name][index], name, one)
            if one.form == "map" and tuple(value.shape[1:]) != size:
                raise ValueError(
                    f"{self.files[name][index]} has {value.shape[2]} x {value.shape[1]} pixels, "
                    f"and its picture {size[1]} x {size[0]}"
                )
            found[name] = {"map": cut, "kernel": turn}.get(one.form, _same)(value)
        return found


def read_condition(path: Path, name: str, condition: Condition) -> Tensor:
    """Read one condition of one picture.

    Returns:
        Of the condition's shape: a map (C, H, W), a kernel (k, k), a number or class (), a vector (n,).

    Raises:
        ValueError: a file that cannot be read, or does not fit; begins with the file.
    """
    if condition.form == "map":
        return as_float(read_stored(path, condition.size))
    if path.suffix.lower() == TEXT_SUFFIX:
        value = _numbers(path)
    elif path.suffix.lower() in IMAGE_SUFFIXES and path.suffix.lower() != ".npy":
        value = as_float(read_stored(path, 1))[0]
    else:
        value = torch.from_numpy(np.ascontiguousarray(read_array(path), dtype=np.float32))
    wanted = condition.shape()
    if value.numel() != int(np.prod(wanted)):
        raise ValueError(f"{path}: the condition {name!r} is {condition}, got {tuple(value.shape)}")
    value = value.reshape(wanted)
    try:
        return condition.checked(name, value, 1, None)[0]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def file_of(picture: Path, named: Mapping[str, Path]) -> Path | None:
    """Find the file that belongs to a picture.

    It has its name, and as many of its folders as match.
    """
    parts = picture.with_suffix("").parts
    names = ("/".join(parts[-count:]) for count in range(len(parts), 0, -1))
    return next((named[name] for name in names if name in named), None)


def files_by_name(folder: Path) -> dict[str, Path]:
    """List the files of a folder of conditions by their paths in it without suffix."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (*IMAGE_SUFFIXES, TEXT_SUFFIX))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files if path.is_file()}


def _matched(name: str, folder: Path, pictures: Sequence[Path]) -> list[Path]:
    named = files_by_name(folder)
    found = [file_of(picture, named) for picture in pictures]
    for picture, file in zip(pictures, found, strict=True):
        if file is None:
            raise ValueError(f"{picture} has no file of its name in {folder}, which holds the condition {name!r}")
    return [file for file in found if file is not None]


def _numbers(path: Path) -> Tensor:
    """The numbers of a text, which are separated by spaces, commas or lines."""
    try:
        data, _ = read_regular(path, LONGEST_TEXT, "a file of numbers")
        words = data.decode("utf-8").replace(",", " ").split()
        return torch.tensor([float(word) for word in words])
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as numbers: {error}") from None


def _same(value: Tensor) -> Tensor:
    return value
