"""Denoisers for export: a network, and a table over the time around it.

A `NetworkDenoiser` is linear in the state, in y and in the network's output, with five factors that depend on the time:

    network's input = in_x x + in_y y,     x0_hat = out_x x + out_y y + out_f F

An exported graph looks them up: exactly at the times of the table, which has all those that samplers stop at, and by linear
interpolation between them. So it needs none of the bridges' functions, and any bridge of a third party can be exported.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from rebridge.denoisers import NetworkDenoiser

FINE = 1024
"""Equal steps of the table."""
SMALLEST = 1e-6
"""Distance from either end from which on times are spaced evenly in their logarithm."""


class TabulatedDenoiser(nn.Module):
    """A denoiser whose factors are looked up.

    Args:
        denoiser: what is exported.
        times: that shall be exact, in [0, 1].
        conditions: names of the network's extra conditions, in the order of further inputs.
    """

    grid: Tensor
    factors: Tensor

    def __init__(self, denoiser: NetworkDenoiser, times: Iterable[float] = (), conditions: Sequence[str] = ()) -> None:
        super().__init__()
        self.conditions = tuple(conditions)
        self.network = denoiser.network
        self.limits = denoiser.bridge.value_range if denoiser.clamp else None
        near = [10 ** (math.log10(SMALLEST) * place / 60) for place in range(61)]
        wanted = [*times, *(place / FINE for place in range(FINE + 1)), *near, *(1 - distance for distance in near)]
        grid = torch.tensor(wanted, dtype=torch.float32)
        ends = torch.tensor([0.0, 1.0])
        grid = torch.cat([grid, torch.nextafter(ends, ends.flip(0))]).clamp(0, 1).unique()
        self.register_buffer("grid", grid)
        self.register_buffer("factors", _factors(denoiser, grid))
        self.plain = bool((self.factors[:, 0] == 1).all() and (self.factors[:, 1] == 0).all())

    def forward(self, x: Tensor, t: Tensor, y: Tensor, *values: Tensor, **told: Tensor) -> Tensor:
        """Estimate x0 from states x (B, C, H, W), times t (B,) and degraded images y.

        Extra conditions come by name, or in their order.
        """
        told = {**dict(zip(self.conditions, values, strict=False)), **told}
        in_x, in_y, out_x, out_y, out_f = self._at(t).view(-1, 5, 1, 1, 1).unbind(1)
        output = self.network(x if self.plain else in_x * x + in_y * y, t, y, **told)
        estimate = out_x * x + out_y * y + out_f * output
        return estimate if self.limits is None else estimate.clamp(*self.limits)

    def _at(self, t: Tensor) -> Tensor:
        """The factors (B, 5) at times (B,)."""
        place = ((t[:, None] >= self.grid).sum(1) - 1).clamp(0, self.grid.shape[0] - 2)
        low, high = self.grid[place], self.grid[place + 1]
        share = ((t - low) / (high - low)).clamp(0, 1)[:, None]
        before, after = self.factors[place], self.factors[place + 1]
        return torch.where(share >= 1, after, before + share * (after - before))


def with_named_inputs(module: TabulatedDenoiser) -> nn.Module:
    """Name the extra conditions in the signature.

    `torch.export` reads the inputs off it.
    """

    class Named(nn.Module):
        """A denoiser whose signature is that of its inputs."""

        def __init__(self) -> None:
            super().__init__()
            self.denoiser = module

        def forward(self, x: Tensor, t: Tensor, y: Tensor, **told: Tensor) -> Tensor:
            result: Tensor = self.denoiser(x, t, y, **told)
            return result

    names = ("self", "x", "t", "y", *module.conditions)
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    Named.forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Named().eval()


class _Told(nn.Module):
    """A network that notes its input and says one number."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = answer
        self.seen = torch.zeros(())

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        self.seen = x
        return torch.full_like(x, self.answer)


def _factors(denoiser: NetworkDenoiser, times: Tensor) -> Tensor:
    """The five factors at times (N,), float32 (N, 5)."""
    found = []
    for x, y, answer in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        told = _Told(answer)
        alone = NetworkDenoiser(told, denoiser.bridge, denoiser.prediction, clamp=False, scale=denoiser.scale)
        state, given = (torch.full((len(times), 1, 1, 1), value, dtype=torch.float64) for value in (x, y))
        estimate = alone(state, times, given)
        found.append((told.seen.flatten(), estimate.flatten()))
    (in_x, out_x), (in_y, out_y), (_, out_f) = found
    return torch.stack([in_x, in_y, out_x, out_y, out_f], 1).float()
