"""How well the averaged weights restore held-out images: PSNR per task at one step and at several, and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rebridge import samplers
from rebridge.bridges import Bridge
from rebridge.data import Pair
from rebridge.data.seeds import generator_of
from rebridge.denoisers import NetworkDenoiser
from rebridge.training.config import Named


@dataclass(frozen=True)
class Validation:
    """Mean PSNR in dB by name ("rain/1 step", ..., "mean/1 step") and one picture per task.

    A picture is (3, H, 4W): degraded, restored in one step, restored in several, clean.
    """

    psnr: dict[str, float]
    pictures: dict[str, Tensor]


@torch.no_grad()
def validate(
    bridge: Bridge, denoiser: NetworkDenoiser, pairs: Sequence[Pair], sampler: Named, device: torch.device, seed: int
) -> Validation:
    """Restore every pair with one step and with the sampler's own number of steps; noise depends on the seed only.

    denoiser: in eval mode. Pairs whose degradation is nothing at all (task "clean") count as the others do.
    """
    steps = sampler.params.get("steps", 1)
    scores: dict[str, list[float]] = {}
    pictures: dict[str, Tensor] = {}
    for index, pair in enumerate(pairs):
        low, high = bridge.value_range
        y = (pair.degraded[None].to(device) * (high - low) + low).contiguous()
        strip = [pair.degraded]
        for count in dict.fromkeys([1, steps]):
            walk = samplers.create(sampler.name, **{**sampler.params, "steps": count})
            noise = _noise(generator_of(seed, "restore", index))
            restored = ((walk(bridge, denoiser, y, noise=noise)[0] - low) / (high - low)).clamp(0, 1).cpu()
            name = "1 step" if count == 1 else f"{count} steps"
            for task in (pair.task, "mean"):
                scores.setdefault(f"{task}/{name}", []).append(psnr(restored, pair.clean))
            strip.append(restored)
        pictures.setdefault(pair.task, torch.cat([*strip, pair.clean], dim=-1))
    return Validation({name: sum(values) / len(values) for name, values in scores.items()}, pictures)


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1], at most 100 (equal images)."""
    error = float((a.double() - b.double()).square().mean())
    return min(-10 * torch.log10(torch.tensor(error, dtype=torch.float64)).item(), 100.0) if error > 0 else 100.0


def _noise(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Standard normal noise like a tensor, drawn on the CPU so that it is the same on every device."""
    return lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)
