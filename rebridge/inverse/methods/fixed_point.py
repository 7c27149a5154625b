"""DeqIR's chain (arXiv 2311.11600): a DDNM walk as the fixed point of one map.

With u = x/a, P = I - A^+ A, the noise eps_k that the model sees in the state at t_k, and one noise z for all steps, a step is

    u_(k+1) = A^+ y + P (u_k - (b_k/a_k) eps_k) + w_k,     w_k = (sqrt(1 - etw^2) eps_k + nw z) b_(k+1)/a_(k+1)

and unrolling its linear part gives every state from the noises of all states before it,

    F(X)_(k+1) = a_(k+1) [A^+ y + w_k + P (u_0 + sum_(j<k) (w_j - (b_j/a_j) eps_j) - (b_k/a_k) eps_k)].

So a sweep evaluates the network on all states in one batch. F is triangular: after k sweeps the first k states are exact. They
are kept as they are and not evaluated again, whatever the mixing does to the others, so that N sweeps give the walk itself
(derived; the authors evaluate all states in every sweep). Anderson's mixing makes the rest arrive in fewer sweeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rebridge.denoisers import as_estimate
from rebridge.images.atomic import out_of_memory
from rebridge.inverse.problem import Problem
from rebridge.samplers.base import Callback

Mixing = Literal["global", "per-step", "none"]

CPU_BATCH = 4
"""Most states in one call on a CPU, which gains nothing by more: they only fall out of its cache."""


@dataclass(frozen=True)
class Mixed:
    """End of an iteration.

    Args:
        states: (N, B, C, H, W).
        end: clean images (B, C, H, W).
        residuals: size of X - F(X) relative to F(X) in each sweep.
    """

    states: Tensor
    end: Tensor
    residuals: list[float]


class Chain:
    """The map F of a problem with a linear operator.

    Args:
        problem: with a linear operator.
        times: N + 1 float64 times that decrease to 0.
        nw: factor of the shared noise.
        z: the shared noise (B, C, H, W), needed for nw > 0.
        batch: most states in one call of the network, halved where memory runs out; None for all of them, or CPU_BATCH on
            a CPU.
        etw: share of the model's noise that is left out, by default `nw`, which keeps the variance.
    """

    def __init__(
        self,
        problem: Problem,
        times: Tensor,
        nw: float = 0.0,
        z: Tensor | None = None,
        batch: int | None = None,
        etw: float | None = None,
    ) -> None:
        self.problem, self.times, self.batch = problem, times, batch
        self.length = len(times) - 1
        at = problem.process.coefficients(times)
        self._alpha, self._ratio = (c.reshape(-1, 1, 1, 1, 1) for c in (at.alpha, at.gamma / at.alpha))
        self._kept = (1 - (nw if etw is None else etw) ** 2) ** 0.5
        self._z = None if z is None or nw == 0 else nw * z
        self._fitted = problem.operator.A_dagger(problem.y)

    def noises(self, states: Tensor, first: int = 0) -> Tensor:
        """Compute eps in the states (n, B, C, H, W) at times[first:].

        One network call per state.
        """
        n, rows = states.shape[:2]
        dtype = torch.float64 if states.dtype == torch.float64 else torch.float32
        times = self.times[first : first + n].to(states.device, dtype).repeat_interleave(rows)
        x0_hat = self._estimates(states.flatten(0, 1), times).unflatten(0, (n, rows))
        alpha, ratio = (c[first : first + n].to(states) for c in (self._alpha, self._ratio))
        return (states / alpha - x0_hat) / ratio

    def images(self, start: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Compute F(X), the states and the clean images.

        start: x (B, C, H, W) at times[0]. eps: the noises of all states (N, B, C, H, W).
        """
        ratio, alpha = self._ratio.to(eps), self._alpha.to(eps)
        w = self._kept * eps if self._z is None else self._kept * eps + self._z
        w = w * ratio[1:]
        inside = start / alpha[0] + torch.cumsum(w - ratio[:-1] * eps, 0) - w
        flat = inside.flatten(0, 1)
        operator = self.problem.operator
        seen = operator.A_dagger(operator.A(flat)).unflatten(0, inside.shape[:2])
        following = alpha[1:] * (self._fitted + w + inside - seen)
        return torch.cat([start[None], following[:-1]]), following[-1]

    def _estimates(self, states: Tensor, times: Tensor) -> Tensor:
        while True:
            try:
                size = self.batch or (CPU_BATCH if states.device.type == "cpu" else len(states))
                parts = [
                    as_estimate(self.problem.denoiser(part, t, torch.zeros_like(part))).x0
                    for part, t in zip(states.split(size), times.split(size), strict=True)
                ]
                return torch.cat(parts)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if size == 1 or not out_of_memory(error):
                    raise
            self.batch = size // 2


def solve_chain(
    chain: Chain,
    start: Tensor,
    sweeps: int,
    mixing: Mixing = "global",
    memory: int = 5,
    lam: float = 1e-3,
    beta: float = 1.0,
    tolerance: float = 0.0,
    states: Tensor | None = None,
    callback: Callback | None = None,
) -> Mixed:
    """Iterate X <- F(X) with Anderson's mixing of the last sweeps.

    Args:
        chain: the map F.
        start: state (B, C, H, W) at times[0], and the first X at all times.
        sweeps: number of iterations, at most the chain's length.
        mixing: weights for every image ("global"), for every state of every image ("per-step", the authors'), or "none"
            (Picard).
        memory: number of sweeps that are mixed.
        lam: regularises the weights, relative to the newest residual's square; the authors' is absolute.
        beta: share of F in the mixture.
        tolerance: relative residual at which to stop.
        states: the first X (N, B, C, H, W), to be used instead.
        callback: called with (sweep, residual, states, clean images).
    """
    x = start.expand(chain.length, *start.shape).clone() if states is None else states
    eps = torch.empty_like(x)
    past: list[tuple[Tensor, Tensor]] = []
    residuals: list[float] = []
    for sweep in range(min(sweeps, chain.length)):
        eps[sweep:] = chain.noises(x[sweep:], sweep)
        image, end = chain.images(start, eps)
        residual = image - x
        residuals.append((residual.norm() / image.norm()).item())
        if callback is not None:
            callback(sweep, residuals[-1], x, end)
        if residuals[-1] <= tolerance:
            break
        past = [*past[-(memory - 1) :], (x, residual)] if memory > 1 else [(x, residual)]
        exact = mixing == "none" or sweep + 2 >= chain.length
        x = image.clone() if exact else _mixed(past, sweep + 2, mixing, lam, beta)
        x[: sweep + 2] = image[: sweep + 2]
    return Mixed(x, end, residuals)


def _mixed(past: list[tuple[Tensor, Tensor]], first: int, mixing: Mixing, lam: float, beta: float) -> Tensor:
    """Sum w_i (x_i + beta r_i), where the w sum to 1 and minimise |sum_i w_i r_i| over the states from `first` on."""
    rests = [residual[first:] for _, residual in past]
    rows = [torch.stack([torch.einsum("nbchw,nbchw->nb", a, b) for b in rests], -1) for a in rests]
    gram = torch.stack(rows, -2).double()  # (n, B, m, m)
    if mixing == "global":
        gram = gram.sum(0, keepdim=True)
    newest = gram[..., -1:, -1:].clamp(min=1e-300)
    identity = torch.eye(len(past), dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram / newest + lam * identity, torch.ones_like(gram[..., 0]))
    weights = (weights / weights.sum(-1, keepdim=True)).to(rests[0].dtype)[..., None, None, None]
    length = len(past[0][0])
    if len(weights) < length:  # one set for all states, or none for the first ones, which the caller knows already
        blank = weights[:1].expand(length - (len(weights) if mixing == "per-step" else 0), -1, -1, -1, -1, -1)
        weights = blank if mixing == "global" else torch.cat([blank, weights])
    mixed = torch.zeros_like(past[0][0])
    for index, (states, residual) in enumerate(past):
        mixed += weights[:, :, index] * (states + beta * residual)
    return mixed


def implicit_gradient(
    chain: Chain, start: Tensor, states: Tensor, loss: Callable[[Tensor], Tensor], terms: int | None = None
) -> tuple[Tensor, Tensor]:
    """Differentiate a loss of the clean images with respect to the start.

    By the implicit function theorem:

    v = g + J^T v with J = dF/dX is solved by repeated substitution, exact after N - 1 terms since J is triangular. With fewer
    it is a "phantom" gradient, cheaper and poor: `start` enters F with 1/a_0, about 160 on vp, which the later terms take back.

    Args:
        chain: the map F.
        start: state (B, C, H, W) at times[0].
        states: fixed point (N, B, C, H, W).
        loss: of clean images (B, C, H, W).
        terms: of the substitution, by default N - 1.

    Returns:
        The gradient (B, C, H, W) and the loss.
    """
    with torch.enable_grad():
        x, begin = states.detach().requires_grad_(True), start.detach().requires_grad_(True)
        image, end = chain.images(begin, chain.noises(x))
        value = loss(end)
        g, direct = torch.autograd.grad(value, (x, begin), retain_graph=True)
        v = g
        for _ in range(chain.length - 1 if terms is None else terms):
            (pulled,) = torch.autograd.grad(image, x, v, retain_graph=True)
            change = g + pulled - v
            v = g + pulled
            if change.norm() <= 1e-12 * v.norm():
                break
        (through,) = torch.autograd.grad(image, begin, v)
    return direct + through, value.detach()
