"""Solve an inverse problem with a pretrained prior: a measurement and its operator in, images and their uncertainty out.

from rebridge.inverse import operators, solve
operator = operators.create("sr4", (3, 256, 256))
found = solve(y, operator, "pixel-prior-tiny", "red-diff", sigma_y=0.02)
found.mean, found.std
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rebridge.denoisers import Denoiser, Estimate
from rebridge.inference.noise import ImageNoise
from rebridge.inverse import catalogue
from rebridge.inverse.guidance import check_linear
from rebridge.inverse.operators import Measures, Spectral
from rebridge.inverse.problem import Callback, Problem, Solver, in_range
from rebridge.inverse.unconditional import Unconditional, unconditional
from rebridge.priors import DEFAULT_PRIOR, Prior, load_prior

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Solution:
    """What was found, in [0, 1].

    mean, std: (B, C, H, W), over the samples, how far they differ at each pixel (0 for one sample). samples: (K, B, C, H, W).
    calls: of the prior's network for each image, all samples together.
    """

    mean: Tensor
    std: Tensor
    samples: Tensor
    calls: int


class Asked:
    """A denoiser that counts the states it is asked about, as calls for one image; progress is told after each."""

    def __init__(self, denoiser: Denoiser, images: int, total: int, progress: Progress | None) -> None:
        self.denoiser, self.images, self.total, self.progress = denoiser, images, total, progress
        self.rows = 0

    @property
    def calls(self) -> int:
        """Calls so far per image."""
        return self.rows // self.images

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor | Estimate:
        self.rows += len(x_t)
        result = self.denoiser(x_t, t, y)
        if self.progress is not None:
            self.progress(min(self.calls, self.total), self.total)
        return result


def solve(
    y: Tensor,
    operator: Measures,
    prior: str | Path | Prior | Unconditional = DEFAULT_PRIOR,
    solver: str | Solver = "ddnm",
    *,
    sigma_y: float = 0.0,
    steps: int | None = None,
    seed: int = 0,
    samples: int = 1,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
    callback: Callback | None = None,
    **params: Any,
) -> Solution:
    """Images x with y = A x + sigma_y n, by any solver of the catalogue.

    y: measurements (B, ...) of images in [0, 1]; sigma_y: standard deviation of their noise, in the same units.
    operator: of `rebridge.inverse.operators`, or anything with deepinv's methods. prior: name, folder or hub id as in
    `load_prior`, or a prior. solver: a name with its parameters (steps, params), or a `Solver`. seed: the result of each image
    is a function of it, in any batch. samples: results with different noise. progress: called as (calls so far, all calls).
    Raises ValueError or TypeError, one sentence, for NaN, a measurement of the wrong shape, an operator that does not fit the
    prior or that the solver cannot use, and unknown names.
    """
    chosen = solver_of(solver, steps, params)
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    known = _opened(prior, device)
    y = y.detach().to(known.device)
    fitted, measured, sigma = in_range(operator, y, sigma_y, known.bridge.value_range)
    check_fit(chosen, operator, known)
    asked = Asked(known.denoiser, len(y), samples * chosen.calls, progress)
    problem = Problem(known.bridge, asked, fitted, measured, sigma, known.network)
    low, high = known.bridge.value_range
    found = []
    for sample in range(samples):
        x = chosen(problem, ImageNoise([seed] * len(y), sample), callback)
        if not torch.isfinite(x).all():
            raise ValueError(f"{chosen.name} diverged to NaN; use more steps or other parameters")
        found.append(((x - low) / (high - low)).clamp(0, 1))
    every = torch.stack(found)
    std = every.std(0) if samples > 1 else torch.zeros_like(every[0])
    return Solution(every.mean(0), std, every, asked.calls)


def solver_of(solver: str | Solver, steps: int | None = None, params: dict[str, Any] | None = None) -> Solver:
    """A solver by name with parameters; or the given one, with other parameters where there are any."""
    changes = dict(params or {})
    if steps is not None:
        changes["steps"] = steps
    if isinstance(solver, str):
        return catalogue.create(solver, **changes)
    return replace(solver, **changes) if changes else solver


def check_fit(solver: Solver, operator: Any, prior: Unconditional) -> None:
    """Raise ValueError where operator, solver and prior cannot go together."""
    shape = getattr(operator, "shape", None)
    if shape is not None and shape[0] != prior.channels:
        raise ValueError(f"the operator is for images of {shape[0]} channels, the prior makes {prior.channels}")
    if solver.linear_only:
        check_linear(operator, solver.name)
    if solver.name == "ddrm" and not isinstance(operator, Spectral):
        name = getattr(operator, "name", type(operator).__name__)
        raise ValueError(f"ddrm needs the singular value decomposition of the operator, and {name} has none: use nrlg")


def _opened(prior: str | Path | Prior | Unconditional, device: str | torch.device | None) -> Unconditional:
    if isinstance(prior, Unconditional):
        return prior
    if isinstance(prior, str | Path):
        prior = load_prior(prior, device=device)
    return unconditional(prior)
