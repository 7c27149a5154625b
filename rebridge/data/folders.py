"""Folders of images, and pairs of folders whose images match by name."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from rebridge.images import READABLE_SUFFIXES, read_image, to_bytes
from rebridge.images.arrays import OVERSHOOT
from rebridge.images.npy import read_array

ARRAY_SUFFIX = ".npy"
IMAGE_SUFFIXES = (*READABLE_SUFFIXES, ARRAY_SUFFIX)
READ_BY_HEADER = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")
"""Formats whose headers Pillow is asked to read; it would else try all that it knows, PostScript among them."""
GREY_SHARES = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the grey that a coloured image becomes (BT.601)."""


def image_files(folder: str | Path, recursive: bool = True) -> list[Path]:
    """List the image files of a folder, sorted by path, without hidden ones.

    Raises:
        ValueError: the folder does not exist or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    candidates = folder.rglob("*") if recursive else folder.glob("*")
    files = sorted(
        path
        for path in candidates
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not files:
        raise ValueError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return files


class ImageFolder:
    """The images of a folder as tensors (C, H, W), float32 in [0, 1].

    For C = 3 grey images are repeated over the channels, for C = 1 coloured ones become their luma; images of other channels are
    arrays (.npy: (H, W), (H, W, C) or (C, H, W), floats in [0, 1], uint8 or uint16). Images are decoded when they are read.
    `load()` decodes them once, up to a number of bytes, and keeps them as uint8 (float32 for files of more bits); processes
    forked afterwards share that memory.

    Args:
        path: the folder.
        recursive: look into its folders too.
        files: these files instead of all of the folder's.
        channels: C.
    """

    def __init__(
        self, path: str | Path, recursive: bool = True, files: Sequence[Path] | None = None, channels: int = 3
    ) -> None:
        self.path = Path(path)
        self.channels = channels
        self.files = list(files) if files is not None else image_files(path, recursive)
        self._loaded: dict[int, Tensor] = {}
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """Image number `index` as a tensor (C, H, W) in [0, 1]."""
        return as_float(self.stored(index))

    def stored(self, index: int) -> Tensor:
        """Return an image as it is kept in memory; see `as_float`.

        Returns:
            (C, H, W), uint8 or float32.
        """
        if index in self._loaded:
            return self._loaded[index]
        return read_stored(self.files[index], self.channels)

    @property
    def held(self) -> list[int]:
        """Numbers of the images that are in memory."""
        return list(self._loaded)

    @property
    def held_bytes(self) -> int:
        """The size of the decoded images in memory."""
        return self._held_bytes

    def load(self, max_bytes: float = 4e9) -> "ImageFolder":
        """Decode images into memory, in order, until `max_bytes` are held.

        Returns:
            The folder itself.
        """
        for index in range(len(self.files)):
            if self._held_bytes >= max_bytes:
                break
            if index not in self._loaded:
                self._loaded[index] = read_stored(self.files[index], self.channels)
                self._held_bytes += self._loaded[index].nbytes
        return self

    def select(self, indices: Sequence[int]) -> "ImageFolder":
        """Return the folder with only the images of these numbers, in this order."""
        return ImageFolder(self.path, files=[self.files[index] for index in indices], channels=self.channels)


def as_float(pixels: Tensor) -> Tensor:
    """Convert kept pixels, or a crop of them, to float32 in [0, 1]."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def read_stored(path: Path, channels: int = 3) -> Tensor:
    """Read an image or array file as it is kept in memory.

    Args:
        path: of the file.
        channels: C, see `ImageFolder`.

    Returns:
        (C, H, W), uint8, or float32 in [0, 1] where the file has more than 8 bits.

    Raises:
        ValueError: the file cannot be read, or has other channels.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        return _of_array(path, channels)
    image = read_image(path)
    pixels = image.pixels
    if channels == 1 and len(pixels) == 3:
        pixels = (pixels * pixels.new_tensor(GREY_SHARES).view(3, 1, 1)).sum(0, keepdim=True)
    elif channels == 3 and len(pixels) == 1:
        pixels = pixels.expand(3, -1, -1)
    elif len(pixels) != channels:
        raise ValueError(
            f"{path} has {len(pixels)} channels, and {channels} are wanted: keep such images as .npy arrays"
        )
    return to_bytes(pixels) if image.bits == 8 else pixels.contiguous()


def _of_array(path: Path, channels: int) -> Tensor:
    """An array file as (C, H, W)."""
    array = read_array(path)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"{path}: an image must be an array (H, W), (H, W, C) or (C, H, W), got {array.shape}")
    if array.shape[-1] == channels:
        array = np.moveaxis(array, -1, 0)
    elif array.shape[0] != channels:
        raise ValueError(f"{path} has the shape {array.shape}, and an image of {channels} channels is wanted")
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    scale = {np.dtype(np.uint16): 65535.0}.get(array.dtype.newbyteorder("="), 1.0)
    pixels = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) / scale
    low, high = pixels.min().item(), pixels.max().item()
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise ValueError(f"{path}: values must lie in [0, 1], or be uint8 or uint16, got {low:.4g} to {high:.4g}")
    return pixels.clamp(0, 1)


class PairedFolder:
    """Clean and degraded images of the same scenes, matched by name.

    A sequence of (clean, degraded) paths. Names are paths relative to the folder, without suffix. Data sets that name their
    images otherwise are in `rebridge.data.layouts`.

    Args:
        clean: folder of the clean images.
        degraded: folder of the degraded ones.
        recursive: look into their folders too.
        channels: of the images, see `ImageFolder`.
        check_sizes: compare the sizes of each pair, which reads the headers only.

    Raises:
        ValueError: a degraded image without a clean one, a clean one without a degraded one, or a pair whose sizes differ; the
            message names the files.
    """

    def __init__(
        self,
        clean: str | Path,
        degraded: str | Path,
        recursive: bool = True,
        check_sizes: bool = True,
        channels: int = 3,
    ) -> None:
        self.channels = channels
        clean_of, degraded_of = _by_name(Path(clean), recursive), _by_name(Path(degraded), recursive)
        for name, path in degraded_of.items():
            if name not in clean_of:
                raise ValueError(f"{path} has no clean image: there is no {Path(clean) / name}.*")
        for name, path in clean_of.items():
            if name not in degraded_of:
                raise ValueError(f"{path} has no degraded image: there is no {Path(degraded) / name}.*")
        self.pairs = [(clean_of[name], path) for name, path in degraded_of.items()]
        self.crop_clean = False
        if check_sizes:
            self.check_sizes()

    @classmethod
    def of(cls, pairs: Sequence[tuple[Path, Path]], crop_clean: bool = False, channels: int = 3) -> "PairedFolder":
        """Make a folder of (clean, degraded) paths as they are given.

        Args:
            pairs: the paths.
            crop_clean: some data sets cut a border off the degraded image; cut the same off the clean one.
        """
        folder = cls.__new__(cls)
        folder.pairs, folder.crop_clean, folder.channels = list(pairs), crop_clean, channels
        if not crop_clean:
            folder.check_sizes()
        return folder

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Path, Path]:
        """The paths of pair number `index`: clean, degraded."""
        return self.pairs[index]

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Read clean and degraded image number `index`: (C, H, W), float32 in [0, 1]."""
        clean, degraded = (as_float(read_stored(path, self.channels)) for path in self.pairs[index])
        return self.fit(index, clean, degraded)

    def fit(self, index: int, clean: Tensor, degraded: Tensor) -> tuple[Tensor, Tensor]:
        """Crop the clean image of a pair where that is this folder's rule.

        Raises:
            ValueError: two images that differ in size otherwise.
        """
        if clean.shape == degraded.shape:
            return clean, degraded
        border = [long - short for long, short in zip(clean.shape[1:], degraded.shape[1:], strict=True)]
        if not self.crop_clean or min(border) < 0:
            raise ValueError(
                _mismatch(self.pairs[index], [(side.shape[2], side.shape[1]) for side in (clean, degraded)])
            )
        top, left = border[0] // 2, border[1] // 2
        return clean[:, top : top + degraded.shape[1], left : left + degraded.shape[2]], degraded

    def check_sizes(self) -> None:
        """Raise ValueError, naming both files, for the first pair that differs in size.

        Reads headers only.
        """
        for pair in self.pairs:
            if _size(pair[0], self.channels) == _size(pair[1], self.channels):
                continue
            # A header does not tell all: only XMP may say that a picture is turned.
            sizes = [_whole_size(path, self.channels) for path in pair]
            if sizes[0] != sizes[1]:
                raise ValueError(_mismatch(pair, sizes))


def _mismatch(pair: tuple[Path, Path], sizes: Sequence[tuple[int, int]]) -> str:
    described = [f"{path} ({width}x{height})" for path, (width, height) in zip(pair, sizes, strict=True)]
    return f"{' and '.join(described)} make a pair but differ in size"


def _size(path: Path, channels: int) -> tuple[int, int]:
    """Width and height of an image file, from its header where Pillow can read that."""
    if path.suffix.lower() != ARRAY_SUFFIX:
        with contextlib.suppress(OSError), PillowImage.open(path, formats=READ_BY_HEADER) as header:
            return _displayed_size(header)
    return _whole_size(path, channels)


def _whole_size(path: Path, channels: int) -> tuple[int, int]:
    """Width and height of an image or array file, which is read for it."""
    if path.suffix.lower() != ARRAY_SUFFIX:
        return read_image(path).size
    height, width = _of_array(path, channels).shape[1:]
    return width, height


def _displayed_size(image: PillowImage.Image) -> tuple[int, int]:
    """Width and height after the EXIF orientation: values 5 to 8 turn the picture on its side."""
    width, height = image.size
    return (height, width) if image.getexif().get(0x0112, 1) >= 5 else (width, height)


def _by_name(folder: Path, recursive: bool) -> dict[str, Path]:
    """Image files by path relative to the folder without suffix; two files of one name are an error."""
    found: dict[str, Path] = {}
    for path in image_files(folder, recursive):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise ValueError(f"{found[name]} and {path} have the same name: it is not clear which one makes the pair")
        found[name] = path
    return found
