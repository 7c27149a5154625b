"""From image files to measurements, and from solutions to image files: what `rebridge solve` reads and writes."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from rebridge.images import Image, ImageError, read_image, write_image
from rebridge.images.atomic import reason, write_atomic
from rebridge.inverse.measurement import NOT_PICTURES, Task, picture
from rebridge.inverse.operators import Operator
from rebridge.restoration.solving import Solution
from rebridge.samplers.noise import ImageNoise

ARRAYS = (".npy", ".npz")


@dataclass(frozen=True)
class Measured:
    """What is to be solved: y (1, ...) of images in [0, 1], with the clean image (1, C, H, W) where it was simulated.

    image: the file, whose metadata the result keeps. grey: whether the result should be grey.
    """

    operator: Operator
    y: Tensor
    task: Task
    image: Image
    grey: bool
    clean: Tensor | None = None


def read_measured(
    path: str | Path,
    task: Task,
    channels: int = 3,
    *,
    simulate: bool = False,
    seed: int = 0,
    mask: str | Path | None = None,
    kernel: str | Path | None = None,
    size: tuple[int, int] | None = None,
) -> Measured:
    """Read a measurement, or a clean image to be measured.

    path: an image file; measurements that are no pictures come as .npy, or .npz with the array "y". channels: of the prior's
    images. simulate: whether the file is the clean image. mask: a picture, white where a pixel is known. kernel: of a blur, as
    a picture of odd size (its sum is made 1). size: (height, width) of the image, where the measurement does not tell.
    Raises ImageError or ValueError, one sentence.
    """
    constants = _constants(task, mask, kernel)
    if Path(path).suffix.lower() in ARRAYS:
        if simulate:
            raise ValueError("--simulate takes an image file")
        return _from_array(Path(path), task, channels, size, constants)
    image = read_image(path)
    grey = image.mode == "grey"
    pixels = image.pixels[None]
    if pixels.shape[1] != channels and channels != 1:
        pixels = pixels.expand(-1, channels, -1, -1)
    elif channels == 1 and not grey:
        raise ValueError(f"{path} has colours, and the prior makes grey images")
    if simulate:
        operator = task.operator(pixels.shape[1:], **constants)
        noise = ImageNoise([seed], 2**20)(operator.A(pixels))
        return Measured(operator, task.measure(operator, pixels, noise), task, image, grey, pixels)
    if task.name in NOT_PICTURES:
        raise ValueError(
            f"measurements of {task.name} are no pictures: give a .npy file, or --simulate on a clean image"
        )
    height, width = size or tuple(n * task.scale for n in pixels.shape[-2:])
    operator = task.operator((channels, height, width), **constants)
    if task.name == "jpeg":
        y = operator.A(pixels)
    elif task.name == "colour":
        grey, y = False, image.pixels.mean(0, keepdim=True)[None]
    else:
        y = pixels
    if tuple(y.shape[1:]) != operator.measurement_shape:
        found, wanted = (" x ".join(str(n) for n in shape[-2:]) for shape in (y.shape, operator.measurement_shape))
        raise ValueError(
            f"{path}: {task.name} of {height} x {width} pixels measures {wanted}, and the picture has {found}"
        )
    return Measured(operator, y, task, image, grey)


def write_solution(
    measured: Measured, solution: Solution, output: str | Path, stem: str, overwrite: bool = False
) -> list[Path]:
    """Write the mean, and with several samples the uncertainty; returns the files.

    output: a file for the mean, or a folder, where it is called `stem`.png. Beside it: the simulated measurement as a picture,
    _measured.png; the standard deviation over the samples, _std.png, white where it is largest; and _samples.npz with the
    arrays mean, std (C, H, W) and samples (K, C, H, W) in [0, 1].
    """
    output = Path(output)
    place = output if output.suffix else output / f"{stem}.png"
    bare = replace(measured.image, alpha=None)
    written = [place]
    write_image(place, bare.with_pixels(_coloured(solution.mean[0], measured.grey)), overwrite)

    def beside(ending: str) -> Path:
        written.append(place.with_name(place.stem + ending))
        return written[-1]

    shown = picture(measured.operator, measured.y, measured.task.scale) if measured.clean is not None else None
    if shown is not None:
        write_image(beside("_measured.png"), bare.with_pixels(_coloured(shown[0], measured.grey)), overwrite)
    if len(solution.samples) > 1:
        spread = solution.std[0].mean(0, keepdim=True)
        grey = Image(spread / spread.max().clamp(min=1e-12))
        write_image(beside("_std.png"), grey, overwrite)
        arrays = io.BytesIO()
        np.savez_compressed(
            arrays,
            mean=solution.mean[0].cpu().numpy(),
            std=solution.std[0].cpu().numpy(),
            samples=solution.samples[:, 0].cpu().numpy(),
        )
        write_atomic(beside("_samples.npz"), arrays.getvalue(), overwrite)
    return written


def check_output(output: str | Path, stem: str, overwrite: bool) -> None:
    """Raise ImageError where the result exists already: better told before the work than after."""
    place = Path(output) if Path(output).suffix else Path(output) / f"{stem}.png"
    if place.exists() and not overwrite:
        raise ImageError(f"{place}: exists already and is not overwritten without --overwrite")


def _from_array(
    path: Path, task: Task, channels: int, size: tuple[int, int] | None, constants: dict[str, Any]
) -> Measured:
    try:
        loaded = np.load(path, allow_pickle=False)
        array = loaded["y"] if path.suffix.lower() == ".npz" else loaded
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read as an array: {reason(error)}") from None
    if size is None:
        raise ValueError("a measurement from an array needs --size HEIGHTxWIDTH of the image")
    y = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    operator = task.operator((channels, *size), **constants)
    if y.ndim == len(operator.measurement_shape):
        y = y[None]
    blank = Image(torch.zeros(channels, *size))
    return Measured(operator, y, task, blank, channels == 1)


def _constants(task: Task, mask: str | Path | None, kernel: str | Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if mask is not None:
        if task.name != "known-mask":
            raise ValueError(f"--mask goes with the operator known-mask, not with {task.name}")
        found["mask"] = (read_image(mask).pixels.mean(0) > 0.5).double()
    elif task.name == "known-mask":
        raise ValueError("the operator known-mask needs --mask FILE, white where a pixel is known")
    if kernel is not None:
        if task.name != "blur":
            raise ValueError(f"--kernel goes with the operator blur, not with {task.name}")
        taps = read_image(kernel).pixels.mean(0).double()
        if not taps.sum() > 0:
            raise ValueError(f"{kernel}: a kernel must not be black")
        found["kernel"] = taps / taps.sum()
    return found


def _coloured(pixels: Tensor, grey: bool) -> Tensor:
    return pixels.mean(0, keepdim=True) if grey else pixels
