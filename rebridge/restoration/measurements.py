"""Measurements from files and solutions to files, for `rebridge solve`."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rebridge.images import MAX_PIXELS, Image, ImageWarning, read_image, write_image
from rebridge.images.atomic import write_atomic
from rebridge.images.npy import ARRAY_SUFFIXES, read_array
from rebridge.inverse import operators
from rebridge.inverse.measurement import OperatorSpec
from rebridge.inverse.operators import Operator
from rebridge.restoration.samples import Samples
from rebridge.samplers.noise import ImageNoise


@dataclass(frozen=True)
class Measured:
    """A measurement to be solved.

    Attributes:
        operator: for images in [0, 1].
        y: measurements (1, ...).
        spec: the operator and its noise as text.
        image: the file, whose metadata the result keeps.
        grey: True if the result should be grey.
        clean: the clean image (1, C, H, W), where the measurement was simulated.
    """

    operator: Operator
    y: Tensor
    spec: OperatorSpec
    image: Image
    grey: bool
    clean: Tensor | None = None


def read_measured(
    path: str | Path,
    spec: OperatorSpec,
    channels: int = 3,
    *,
    simulate: bool = False,
    seed: int = 0,
    mask: str | Path | None = None,
    kernel: str | Path | None = None,
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    strict: bool = False,
) -> Measured:
    """Read a measurement, or a clean image to be measured.

    Args:
        path: an image file; measurements that are no pictures come as .npy, or .npz with the array "y".
        spec: the operator and its noise.
        channels: of the model's images.
        simulate: True if the file is the clean image.
        seed: of the simulated noise.
        mask: a picture, white where a pixel is known.
        kernel: of a blur, as a picture of odd size; its sum is made 1.
        size: (height, width) of the image, where the measurement does not tell.
        max_pixels: larger pictures are refused.
        strict: refuse damaged pictures.

    Raises:
        ImageError, ValueError: the file cannot be read, or does not fit; one sentence.
    """
    constants = _constants(spec, mask, kernel)
    if Path(path).suffix.lower() in ARRAY_SUFFIXES:
        if simulate:
            raise ValueError("--simulate takes an image file")
        return _from_array(Path(path), spec, channels, size, constants)
    image = read_image(path, max_pixels, strict)
    pixels = image.visible_pixels[None]
    if channels == 1 and image.mode != "grey":
        raise ValueError(f"{path} has colours, and the prior makes grey images")
    if simulate:
        return _simulated(image, pixels.expand(-1, channels, -1, -1), spec, seed, constants)
    operator = _operator_of(pixels, spec, channels, size, constants) if spec.pictured else None
    if operator is None or not operator.pictured:
        raise ValueError(
            f"measurements of {spec.name} are no pictures: give a .npy file, or --simulate on a clean image"
        )
    y = operator.from_picture(pixels)
    if tuple(y.shape[1:]) != operator.measurement_shape:
        found, wanted = (" x ".join(str(n) for n in shape[-2:]) for shape in (y.shape, operator.measurement_shape))
        height, width = operator.shape[-2:]
        raise ValueError(
            f"{path}: {spec.name} of {height} x {width} pixels measures {wanted}, and the picture has {found}"
        )
    return Measured(operator, y, spec, image, image.mode == "grey" and not operator.loses_colour)


def _simulated(image: Image, clean: Tensor, spec: OperatorSpec, seed: int, constants: dict[str, Any]) -> Measured:
    """Measure a clean image (1, C, H, W)."""
    operator = spec.operator(clean.shape[1:], **constants)
    noise = ImageNoise([seed], 2**20)(operator.A(clean))
    return Measured(operator, spec.measure(operator, clean, noise), spec, image, image.mode == "grey", clean)


def _operator_of(
    pixels: Tensor, spec: OperatorSpec, channels: int, size: tuple[int, int] | None, constants: dict[str, Any]
) -> Operator:
    """Build the operator whose measurement is a picture (1, C, h, w), for images of that size unless it enlarges."""
    height, width = size or pixels.shape[-2:]
    operator = spec.operator((channels, height, width), **constants)
    if size is None and operator.scale != 1:
        operator = spec.operator((channels, height * operator.scale, width * operator.scale), **constants)
    return operator


def write_solution(
    measured: Measured, solution: Samples, output: Path, overwrite: bool = False, quality: int | None = None
) -> list[Path]:
    """Write the mean and, with several samples, the uncertainty.

    Beside the mean: the simulated measurement as a picture, _measured.png; the standard deviation over the samples, _std.png,
    white where it is largest; and _samples.npz with the arrays mean, std (C, H, W) and samples (K, C, H, W) in [0, 1].

    Args:
        measured: what was solved.
        solution: the restored images.
        output: the file of the mean.
        overwrite: replace files that exist.
        quality: of JPEG, WebP, AVIF and JPEG XL; see `write_image`.

    Returns:
        The files written, the mean first.

    Raises:
        ImageError: a file exists already or cannot be written.
    """
    bare = replace(measured.image, alpha=None)
    written = [output]
    mean = _coloured(solution.mean[0], measured.grey)
    alpha = measured.image.alpha
    if alpha is not None and alpha.shape[-2:] != mean.shape[-2:]:
        warnings.warn(f"{output}: the transparency is not kept, as the size changes", ImageWarning, stacklevel=2)
        alpha = None
    write_image(output, bare.with_pixels(mean, alpha), overwrite, quality)

    def beside(ending: str) -> Path:
        written.append(output.with_name(output.stem + ending))
        return written[-1]

    shown = measured.operator.to_picture(measured.y) if measured.clean is not None else None
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


def solution_files(output: Path, samples: int = 1, simulated: bool = False) -> list[Path]:
    """List the files that `write_solution` may write beside a mean.

    Args:
        output: the file of the mean.
        samples: number of samples.
        simulated: whether the measurement is simulated.
    """
    endings = ["_measured.png"] if simulated else []
    endings += ["_std.png", "_samples.npz"] if samples > 1 else []
    return [output.with_name(output.stem + ending) for ending in endings]


def _from_array(
    path: Path, spec: OperatorSpec, channels: int, size: tuple[int, int] | None, constants: dict[str, Any]
) -> Measured:
    """Read a measurement from an array file."""
    array = read_array(path, "y" if path.suffix.lower() == ".npz" else None)
    if size is None:
        raise ValueError("a measurement from an array needs --size WIDTHxHEIGHT of the image")
    y = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    operator = spec.operator((channels, *size), **constants)
    if y.ndim == len(operator.measurement_shape):
        y = y[None]
    blank = Image(torch.zeros(channels, *size))
    return Measured(operator, y, spec, blank, channels == 1)


def _constants(spec: OperatorSpec, mask: str | Path | None, kernel: str | Path | None) -> dict[str, Any]:
    """Read the tensors that the operator takes from pictures."""
    found: dict[str, Any] = {}
    taken = operators.parameters(spec.name)
    if mask is not None:
        _check_taken("mask", spec.name, taken)
        found["mask"] = (read_image(mask).pixels.mean(0) > 0.5).double()
    elif "mask" in taken:
        raise ValueError(f"the operator {spec.name} needs --mask FILE, white where a pixel is known")
    if kernel is not None:
        _check_taken("kernel", spec.name, taken)
        taps = read_image(kernel).pixels.mean(0).double()
        if not taps.sum() > 0:
            raise ValueError(f"{kernel}: a kernel must not be black")
        found["kernel"] = taps / taps.sum()
    return found


def _check_taken(key: str, name: str, taken: Iterable[str]) -> None:
    """Raise ValueError unless an operator has a parameter."""
    if key not in taken:
        known = [other for other in operators.names() if key in operators.parameters(other)]
        raise ValueError(f"--{key} goes with the operator {' or '.join(known)}, not with {name}")


def _coloured(pixels: Tensor, grey: bool) -> Tensor:
    return pixels.mean(0, keepdim=True) if grey else pixels
