"""Validation of a denoiser on held-out pairs.

PSNR per task at one step and at several, and pictures.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from rebridge.bridges import Bridge
from rebridge.data import CLEAN, Pair
from rebridge.data.seeds import generator_of
from rebridge.denoisers import Denoiser
from rebridge.evaluation.metrics import psnr
from rebridge.networks.conditions import Values
from rebridge.samplers import Sampler
from rebridge.training.task import Validation

Given = Callable[[Tensor, Tensor], tuple[Denoiser, Tensor]]
"""From (x0, y) to the denoiser and the image that the bridge starts from."""


@dataclass(frozen=True)
class Scores:
    """Mean PSNR in dB by number of steps and task, and one picture per task.

    The task "mean" is over all but intact images.

    A picture is (3, H, 4W): degraded, restored in one step, restored in several, clean (5W with a prediction as 0 steps).
    """

    psnr: dict[int, dict[str, float]]
    pictures: dict[str, Tensor]

    def validation(self) -> Validation:
        """Name the PSNRs, "psnr/1 step/rain", and put them in one line."""
        metrics = {
            f"psnr/{steps} step{'' if steps == 1 else 's'}/{task}": value
            for steps, values in self.psnr.items()
            for task, value in values.items()
        }
        tasks = [
            f"{task} {' / '.join(f'{values[task]:.2f}' for values in self.psnr.values())}" for task in self.psnr[1]
        ]
        text = f"PSNR in dB at {' / '.join(map(str, self.psnr))} steps: {', '.join(tasks)}"
        return Validation(metrics, text, self.pictures, self.psnr[max(self.psnr)]["mean"])


@torch.no_grad()
def validate(
    bridge: Bridge,
    given: Given,
    pairs: Sequence[Pair],
    sampler: Sampler,
    device: torch.device,
    seed: int,
    enter: Callable[[Tensor], Tensor] | None = None,
    leave: Callable[[Tensor, tuple[int, int]], Tensor] | None = None,
    *,
    told: Callable[[Values], Values] = dict,
) -> Scores:
    """Restore every pair with one step and with the sampler's own number.

    Noise depends on the seed only.

    enter, leave: into the space of the states and back; by default pixels in the bridge's range. told: brings extra conditions
    there.
    given(x0, y): the denoiser, in eval mode, and what the bridge starts from; where that is not y itself but a prediction,
    the prediction is scored as 0 steps. Pairs of one task and size that follow one another are restored together.
    """
    low, high = bridge.value_range

    def entered(images: Tensor) -> Tensor:
        return images.to(device) * (high - low) + low if enter is None else enter(images)

    def left(states: Tensor, size: tuple[int, int]) -> Tensor:
        return (states - low) / (high - low) if leave is None else leave(states, size)

    scores: dict[int, dict[str, list[float]]] = {}
    pictures: dict[str, Tensor] = {}
    tasks = {pair.task for pair in pairs}
    for (task, _), group in groupby(pairs, key=lambda pair: (pair.task, pair.clean.shape)):
        together = list(group)
        clean = torch.stack([pair.clean for pair in together])
        degraded = torch.stack([pair.degraded for pair in together])
        strip = [degraded[0]]
        y = entered(degraded)
        denoiser, start = given(entered(clean), y)
        values = told(
            {name: torch.stack([pair.conditions[name] for pair in together]) for name in together[0].conditions}
        )
        if values:
            denoiser = partial(denoiser, **values)
        for steps in dict.fromkeys([1, sampler.steps] if start is y else [0, 1, sampler.steps]):
            walk = replace(sampler, steps=max(steps, 1))
            noise = _noise(generator_of(seed, "restore", task))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "one step returns")  # as the figures show
                x0 = walk(bridge, denoiser, start, noise=noise) if steps else start
            restored = left(x0, (clean.shape[-2], clean.shape[-1])).clamp(0, 1).cpu()
            by_task = scores.setdefault(steps, {"mean": []})
            found = psnr(restored, clean).tolist()
            by_task["mean"] += found if task != CLEAN or len(tasks) == 1 else []
            by_task.setdefault(task, []).extend(found)
            strip.append(restored[0])
        pictures.setdefault(task, torch.cat([*strip, clean[0]], dim=-1))
    means = {steps: {task: sum(v) / len(v) for task, v in by_task.items()} for steps, by_task in scores.items()}
    return Scores(means, pictures)


def _noise(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Standard normal noise like a tensor, drawn on the CPU for every device."""
    return lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)
