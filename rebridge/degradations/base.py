"""The base of all degradations: frozen parameters, one random draw per image.

The seeding rule: a call first draws one 64-bit seed per image from the caller's generator, then image i uses its own
generator made from seed i. So image i of a batch gets the same degradation whatever the size of the batch, and
degrading a batch equals degrading its images one after the other with the same generator.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

Range = float | tuple[float, float]
"""A parameter drawn uniformly per image from (low, high); a single number means that number always."""


class Draw:
    """The random numbers of one image, from one seeded CPU generator.

    Args:
        seed: of the generator.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, bounds: Range) -> float:
        """Draw one number, uniform between the two bounds."""
        low, high = bounds if isinstance(bounds, tuple) else (bounds, bounds)
        return low + (high - low) * float(torch.rand((), generator=self.generator, dtype=torch.float64))

    def log_uniform(self, bounds: Range) -> float:
        """Draw one number whose logarithm is uniform between the bounds.

        Where the lower bound is 0 it is plainly uniform.
        """
        low, high = bounds if isinstance(bounds, tuple) else (bounds, bounds)
        if low <= 0:
            return self.uniform(bounds)
        return min(max(math.exp(self.uniform((math.log(low), math.log(high)))), low), high)

    def integer(self, low: int, high: int) -> int:
        """Draw one integer, uniform between low and high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def poisson(self, mean: float) -> int:
        """Draw one Poisson count."""
        return int(torch.poisson(torch.tensor(mean, dtype=torch.float64), generator=self.generator))

    def rand(self, *shape: int) -> Tensor:
        """Draw float32 numbers, uniform in [0, 1)."""
        return torch.rand(shape, generator=self.generator)

    def randn(self, *shape: int) -> Tensor:
        """Draw float32 numbers, standard normal."""
        return torch.randn(shape, generator=self.generator)


@dataclass(frozen=True)
class Degradation:
    """Base of all degradations: checks the images, seeds each, and clamps the result.

    A subclass is a frozen dataclass whose fields are its physical parameters; it implements `degrade` for one image
    and states the allowed values of its fields with `limit` in `__post_init__`.
    """

    resizes: ClassVar[bool] = False
    """True if the result is smaller than the image, unless the parameter `upsample` is set."""

    any_channels: ClassVar[bool] = False
    """True if it knows nothing of colours, and takes any number of channels."""

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Degrade each image of a batch with parameters of its own.

        No gradient flows through.

        Args:
            x: (B, C, H, W) floating point in [0, 1], C = 1 (grey) or 3 (RGB), or any number with `any_channels`.
            generator: a CPU generator; without one, the seeds come from torch's default generator.

        Returns:
            (B, C, H, W) in [0, 1] with x's type and device (downsampling without `upsample` returns the smaller size).

        Raises:
            TypeError: x is no floating-point tensor.
            ValueError: x has another shape or range, or the generator is not on the CPU.
        """
        check_batch(x, self.any_channels)
        seeds = draw_seeds(len(x), generator)
        images = x.detach().to("cpu", torch.float32)
        degraded = [self.degrade(image, Draw(seed)).clamp(0, 1) for image, seed in zip(images, seeds, strict=True)]
        return torch.stack(degraded).to(x.device, x.dtype)

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image; the caller clamps.

        Args:
            image: (C, H, W), float32 on the CPU.
            draw: its random numbers.
        """
        raise NotImplementedError

    def limit(self, **limits: tuple[float, float]) -> None:
        """Check that fields lie within their limits, and store (low, high) pairs.

        Args:
            limits: lowest and highest value, by name of the field.
        """
        for name, (lowest, highest) in limits.items():
            low, high = as_range(name, getattr(self, name))
            if not lowest <= low <= high <= highest:
                raise ValueError(
                    f"{name} must lie in [{lowest:g}, {highest:g}] with low <= high, got ({low:g}, {high:g})"
                )
            object.__setattr__(self, name, (low, high))


def as_range(name: str, value: object) -> tuple[float, float]:
    """Convert a number or a pair of numbers to (low, high).

    Raises:
        TypeError: anything else; the message names the parameter.
        ValueError: a number that is not finite.
    """
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in pair):
        raise TypeError(f"{name} must be a number or a pair (low, high), got {value!r}")
    if not all(math.isfinite(v) for v in pair):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return float(pair[0]), float(pair[1])


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Raise one clear sentence unless a value is a number within [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value:g}")


def check_batch(x: Tensor, any_channels: bool = False) -> None:
    """Raise one clear sentence unless x is a batch of images.

    That is a finite floating-point tensor (B, 1 or 3, H, W) with values in [0, 1]; with `any_channels` (B, C, H, W).
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"images must be a torch tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"images must be floating point in [0, 1], got {x.dtype}")
    if x.ndim != 4:
        raise ValueError(f"images must have shape (B, C, H, W), got {tuple(x.shape)}")
    if x.shape[1] not in (1, 3) and not any_channels:
        raise ValueError(f"images must have 1 or 3 channels, got {x.shape[1]}")
    if x.numel() == 0:
        raise ValueError(f"images must not be empty, got shape {tuple(x.shape)}")
    low, high = (float(v) for v in torch.aminmax(x.detach()))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("images must be finite, got NaN or infinity")
    if low < 0 or high > 1:
        raise ValueError(f"images must lie in [0, 1], got values from {low:g} to {high:g}")


def draw_seeds(count: int, generator: torch.Generator | None) -> list[int]:
    """Draw one int64 seed per image; seed i does not depend on the count.

    Args:
        count: of images.
        generator: a CPU generator, or None for torch's default one.
    """
    if generator is not None and generator.device.type != "cpu":
        raise ValueError(f"generator must be on the CPU, got one on {generator.device}")
    return torch.randint(0, 2**63 - 1, (count,), generator=generator).tolist()
